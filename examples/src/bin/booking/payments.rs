//! Moving money for a booking, so that a charge always ends in a confirmed booking, and a booking that is taken
//! back is never charged.

use idempotency::Attempt;
use idempotency_examples::problem::Problem;
use idempotency_examples::provider::gateway::{Answered, GatewayError};
use idempotency_examples::provider::ledger::{Entry, Instruction, Kind};
use serde::{Deserialize, Serialize};

use crate::books::model::{Opened, Payment, Reservation};
use crate::books::{BooksError, By, Step, Taken};
use crate::service::Service;

/// How a payment is to go, as with a provider's test cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Force {
    #[default]
    Success,
    Failure,
}

/// What a payment came to.
#[derive(Debug)]
pub(crate) enum Paid {
    /// Now or before: the booking says in which attempt.
    Confirmed(Taken),
    /// A decline is an answer like any other: asking again does not ask the card again.
    Declined(String),
}

impl Service {
    /// Charges for a booking, in a run that no other with its key is beside.
    pub(crate) async fn charge(
        &self,
        attempt: &Attempt,
        id: &str,
        amount: u64,
        force: Force,
        by: &By,
    ) -> Result<Paid, Problem> {
        let opened = Opened { key: attempt.downstream().into(), fence: attempt.fence().get() };
        // An attempt before this one may have charged. The look bars it, should it still be on its way.
        if attempt.prior().is_some()
            && let Some(made) = self.gateway.look(&opened.key, opened.fence).await?
        {
            return Ok(Paid::Confirmed(self.confirm(id, made, by).await?));
        }
        let payment = Payment { by: opened.clone(), amount, transaction_id: None };
        let begun = self.books.take(Step::BeginPayment { id: id.into(), payment }, by).await?;
        if !begun.now {
            return Ok(Paid::Confirmed(begun));
        }
        let instruction = Instruction {
            key: opened.key.clone(),
            fence: opened.fence,
            kind: Kind::Charge,
            order: begun.reservation.booking_id(),
            amount,
            currency: "EUR".into(),
        };
        let answered = match force {
            Force::Success => self.gateway.carry_out(&instruction).await,
            Force::Failure => self.gateway.decline(&instruction).await,
        };
        let not_paid = |action, reason: String| Step::NotPaid { id: id.into(), paid: opened.clone(), action, reason };
        match answered {
            Ok(Answered::Done(made)) => Ok(Paid::Confirmed(self.confirm(id, made, by).await?)),
            Ok(Answered::Declined(reason)) => {
                self.books.take(not_paid("PAYMENT_FAILED", reason.clone()), by).await?;
                Ok(Paid::Declined(reason))
            }
            Err(error @ (GatewayError::NothingDone(_) | GatewayError::Barred)) => {
                self.books.take(not_paid("PAYMENT_NOT_MADE", error.to_string()), by).await?;
                Err(error.into())
            }
            // It may have charged: the booking stays as it is until the next attempt, or the job, has looked.
            Err(error) => Err(error.into()),
        }
    }

    /// Confirms a booking that the provider has a charge for.
    async fn confirm(&self, id: &str, made: Entry, by: &By) -> Result<Taken, BooksError> {
        let paid = Opened { key: made.instruction.key, fence: made.instruction.fence };
        self.books.take(Step::Paid { id: id.into(), paid, transaction: made.id }, by).await
    }

    /// Takes a booking back whose time is over; `false` if there was nothing to do any more.
    ///
    /// One with a payment under way is not simply taken back: the provider is asked first, and from then on does
    /// nothing for that attempt. So the booking is paid, or never will be.
    pub(crate) async fn take_back(&self, held: &Reservation, by: &By) -> Result<bool, NotTakenBack> {
        let mut abandoned = None;
        if let Some(Payment { by: opened, .. }) = &held.payment {
            // One more than the attempt's own: that one is barred, and one that may begin now is not.
            let found = match self.gateway.look(&opened.key, opened.fence + 1).await {
                // By a retry of its payer's, which has looked itself: what the attempt did, it has done by now.
                Err(GatewayError::Barred) => self.gateway.made(&opened.key).await?,
                looked => looked?,
            };
            if let Some(made) = found {
                return Ok(self.confirm(&held.id, made, by).await?.now);
            }
            abandoned = Some(opened.clone());
        }
        Ok(self.books.take(Step::Expire { id: held.id.clone(), abandoned }, by).await?.now)
    }
}

/// A booking or lock whose time is over was not taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTakenBack {
    #[error(transparent)]
    Provider(#[from] GatewayError),
    #[error(transparent)]
    Books(#[from] BooksError),
}
