//! The service of *Property-test your service*.

use idempotency_core::{Effect, Error, Idempotency, Key};

/// What a customer gets back.
#[derive(Clone, Debug)]
pub struct Refund {
    pub order: String,
    pub id: String,
    pub cents: u64,
}

/// The payment provider, as the service sees it.
pub trait Provider {
    /// Pays a refund out.
    fn pay_out(&self, key: &Key, refund: &Refund) -> impl Future<Output = Result<(), ProviderError>> + Send;
}

/// The provider did not say that it paid.
#[derive(Debug)]
pub struct ProviderError;

#[derive(Debug)]
pub enum RefundError {
    Provider(ProviderError),
    Idempotency(Error),
}

impl From<Error> for RefundError {
    fn from(error: Error) -> Self {
        Self::Idempotency(error)
    }
}

pub async fn refund(
    idempotency: &Idempotency,
    provider: &(impl Provider + Sync),
    refund: &Refund,
) -> Result<u64, RefundError> {
    let key =
        Key::refund(&refund.order, &refund.id).request(&refund.cents).build().expect("ids are checked at the door");
    let paid = idempotency
        .call(&key)
        .effect_of(|error: &RefundError| match error {
            RefundError::Provider(_) => Effect::None,
            RefundError::Idempotency(_) => Effect::Unknown,
        })
        .run(|_| async {
            provider.pay_out(&key, refund).await.map_err(RefundError::Provider)?;
            Ok(refund.cents)
        })
        .await?;
    Ok(paid.into_inner())
}
