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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Counts what is logged.
    #[derive(Clone, Default)]
    struct Logged(Arc<AtomicUsize>);

    impl Subscriber for Logged {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    /// The only test of this program that comes upon the warning: what `WARNED` says is its own.
    #[test]
    fn a_lease_under_10_s_is_warned_of_once() {
        let logged = Logged::default();
        let warned = |lease| {
            tracing::subscriber::with_default(logged.clone(), || warn_if_short(lease));
            logged.0.load(Ordering::Relaxed)
        };
        let short = Duration::from_secs(10) - Duration::from_nanos(1);
        assert_eq!([Duration::from_secs(11), Duration::from_secs(10), short, short].map(warned), [0, 0, 1, 1]);
    }
}
