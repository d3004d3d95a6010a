use idempotency_core::Key;
use idempotency_testkit::schedule::{Effects, World, check};

use crate::refund::{Provider, ProviderError, Refund, refund};

/// The provider, played by the kit.
struct Outside(Effects);

impl Provider for Outside {
    async fn pay_out(&self, _: &Key, refund: &Refund) -> Result<(), ProviderError> {
        // What may be had once, as the test sees it, not as the service says.
        let once = Key::refund(&refund.order, &refund.id).build().unwrap();
        self.0.record(&once).await.map_err(|_| ProviderError)
    }
}

#[test]
#[should_panic(expected = "told before again")]
fn a_refund_is_paid_once() {
    check(|world: World, cents: u64| async move {
        let request = Refund { order: "ord_42".into(), id: "rf_1".into(), cents };
        refund(&world.idempotency(), &Outside(world.effects()), &request).await
    });
}
