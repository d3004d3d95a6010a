//! What a run is made of, beside its schedule.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use idempotency_core::IdempotencyStore;

use super::bounds::Bounds;
use super::clock::SimClock;
use super::referee::EffectRule;

/// A client's request, being handled.
pub(super) type Handling = Pin<Box<dyn Future<Output = Result<String, String>>>>;

/// Makes the store of a run.
pub(super) type MakeStore = Arc<dyn Fn(SimClock) -> Simulated + Send + Sync>;

/// The store of a run.
#[derive(Clone)]
pub struct Simulated {
    pub(super) store: Arc<dyn IdempotencyStore>,
    pub(super) restart: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Simulated {
    /// A store that never goes down.
    pub fn new(store: impl IdempotencyStore) -> Self {
        Self { store: Arc::new(store), restart: None }
    }

    /// A store that can go down and come up again: `restart` leaves it as it then is.
    #[must_use]
    pub fn with_restart(mut self, restart: impl Fn() + Send + Sync + 'static) -> Self {
        self.restart = Some(Arc::new(restart));
        self
    }
}

/// What a run is made of, beside its schedule.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) make_store: MakeStore,
    pub(super) bounds: Bounds,
    pub(super) rule: EffectRule,
    /// How long a request may take.
    pub(super) within: Duration,
    /// Whether a call and its answer may go in one step.
    pub(super) exchanges: bool,
}
