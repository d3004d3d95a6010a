//! What all runs of a handle share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::codec::AnyCodec;
use crate::lock::OnUnknown;
use crate::renewer::Renewer;
use crate::store::IdempotencyStore;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn IdempotencyStore>,
    pub(crate) settings: Settings,
    pub(crate) renewer: Renewer,
    /// Detached runs, and what is told to the store after its caller is gone.
    pub(crate) background: TaskTracker,
}

/// What holds for a call unless it says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) lease: Duration,
    pub(crate) retention: Duration,
    pub(crate) unknown_retention: Duration,
    pub(crate) max_run: Duration,
    pub(crate) store_limit: Duration,
    pub(crate) result_limit: usize,
    pub(crate) on_unknown: OnUnknown,
    pub(crate) codec: AnyCodec,
}

/// Warns once a process about a lease so short that an ordinary pause loses it.
pub(crate) fn warn_if_short(lease: Duration) {
    const SHORT: Duration = Duration::from_secs(10);
    static WARNED: AtomicBool = AtomicBool::new(false);
    if lease < SHORT && !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(?lease, "a lease under 10 s is lost in an ordinary pause: a full disk queue, a busy machine");
    }
}
