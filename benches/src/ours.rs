//! The library under test.

use idempotency::{Error, Idempotency, Key};

use crate::measure::Sides;
use crate::value::Payment;

/// The everyday call; the same for both.
pub(crate) struct Ours(pub(crate) Idempotency);

impl Sides for Ours {
    async fn fresh(&self, key: &Key) {
        let outcome = self.0.execute_once(key, async { Ok::<_, Error>(Payment::sample()) }).await;
        assert!(outcome.is_ok_and(|outcome| outcome.amount == 1999));
    }

    async fn replay(&self, key: &Key) {
        self.fresh(key).await;
    }
}
