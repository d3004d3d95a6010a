//! What one call wants: its settings, and what to make of errors and of unknown attempts.

use std::time::Duration;

use crate::attempt::Attempt;
use crate::error::InvalidCall;
use crate::lease::Bounds;
use crate::lock::Effect;
use crate::note::{Attributes, Context};
use crate::shared::Settings;

/// What a call wants, apart from its operation.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) wait: Option<Duration>,
    pub(crate) context: Context,
    pub(crate) attributes: Attributes,
    pub(crate) confirms: bool,
    pub(crate) fact_only: bool,
    pub(crate) fail_open: bool,
    /// Whether `max_run` bounds the whole hold, the last lease included, and not its renewal alone.
    pub(crate) strict_end: bool,
    /// What a run that is cut off says of its effect at once; `None` leaves its lock to lapse.
    pub(crate) if_cut_off: Option<Effect>,
    pub(crate) error: Option<InvalidCall>,
}

impl Plan {
    /// The handle's settings, and no more.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            wait: None,
            context: Context::default(),
            attributes: Attributes::default(),
            confirms: false,
            fact_only: false,
            fail_open: false,
            strict_end: false,
            if_cut_off: None,
            error: None,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let Settings { max_run, lease, .. } = self.settings;
        Bounds { renewed_for: max_run, held_for: if self.strict_end { max_run } else { max_run + lease } }
    }
}

/// Says what an operation's error means for its effect; see [`Call::effect_of`](crate::Call::effect_of).
pub trait Classify<E>: Send {
    /// The effect that an operation had which ended with this error.
    fn effect(&self, error: &E) -> Effect;
}

/// No error tells: every one leaves the attempt unknown.
#[derive(Clone, Copy, Debug)]
pub struct Unclassified;

impl<E> Classify<E> for Unclassified {
    fn effect(&self, _: &E) -> Effect {
        Effect::Unknown
    }
}

impl<E, F: Fn(&E) -> Effect + Send> Classify<E> for F {
    fn effect(&self, error: &E) -> Effect {
        self(error)
    }
}

/// Asks what became of an unknown attempt; see [`Call::reconcile`](crate::Call::reconcile).
pub trait Reconcile<T, E>: Send {
    /// Whether there is anything to ask.
    const ASKS: bool;

    /// The value that an earlier attempt had, if one had its effect.
    fn reconcile(self, attempt: Attempt) -> impl Future<Output = Result<Option<T>, E>> + Send;
}

/// There is no way to ask.
#[derive(Clone, Copy, Debug)]
pub struct NoReconcile;

impl<T: Send, E: Send> Reconcile<T, E> for NoReconcile {
    const ASKS: bool = false;

    async fn reconcile(self, _: Attempt) -> Result<Option<T>, E> {
        Ok(None)
    }
}

impl<T, E, F, Fut> Reconcile<T, E> for F
where
    F: FnOnce(Attempt) -> Fut + Send,
    Fut: Future<Output = Result<Option<T>, E>> + Send,
{
    const ASKS: bool = true;

    fn reconcile(self, attempt: Attempt) -> impl Future<Output = Result<Option<T>, E>> + Send {
        self(attempt)
    }
}
