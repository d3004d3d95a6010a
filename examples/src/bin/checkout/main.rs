//! A checkout: a page with a Pay button, stock that is reserved once, and one payment however often it is asked for.
//!
//! See `examples/checkout.md`.

mod cart;
mod page;
mod service;
mod session;
mod shop;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use idempotency_examples::app::{self, About};

const ABOUT: About = About {
    name: "checkout",
    does: "a checkout whose Pay button pays once",
    options: &[("stock", "how many there are of each variant, at first (default: 100)")],
    provider: true,
    to_try: |at| {
        format!(
            "the page:          http://{at}/
twice, paid once:  curl -X POST http://{at}/api/checkout/create-order \\
                     -H 'Content-Type: application/json' -H 'Idempotency-Key: test-123' \\
                     -d '{{\"variantId\":\"test\",\"quantity\":1,\"amount\":1499}}'
what is left:      curl http://{at}/api/checkout/variants"
        )
    },
};

#[tokio::main]
async fn main() -> ExitCode {
    app::run(ABOUT, service::start).await
}
