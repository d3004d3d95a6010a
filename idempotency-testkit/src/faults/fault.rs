//! What may go wrong with one call.

use std::time::Duration;

use idempotency_core::StoreErrorKind;

/// What goes wrong with one call to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    Works,
    /// It fails with an error of this kind. Nothing is done.
    Before(StoreErrorKind),
    /// It is done, but an error of this kind comes in place of the answer.
    After(StoreErrorKind),
    /// It never answers. Nothing is done.
    Hangs,
    /// It is done, but never answers.
    HangsAfter,
    /// It is done after this time, and then answered.
    Late(Duration),
    /// It is done at once, and answered after this time.
    LateAfter(Duration),
    /// An error of this kind comes at once, and it is done after this time all the same: a message
    /// that was held up. In a task of its own, so within a tokio runtime.
    LateAfterError(StoreErrorKind, Duration),
    /// It panics. Nothing is done.
    Panics,
    /// It is done, and panics.
    PanicsAfter,
}

impl Fault {
    /// The store cannot be reached; nothing is done.
    pub const DOWN: Self = Self::Before(StoreErrorKind::Unavailable);
    /// It is done, but the answer is lost.
    pub const LOST: Self = Self::After(StoreErrorKind::InDoubt);
    /// It is not done, but nobody can know: the message was lost on its way.
    pub const LOST_ON_THE_WAY: Self = Self::Before(StoreErrorKind::InDoubt);
}
