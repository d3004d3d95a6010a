//! The page's client by itself, where what it meets cannot be had by a hand on the page.

use idempotency_testkit::proxy::Proxy;
use serde_json::{Value, json};

use crate::browser::{Browser, with_browser};
use crate::{CHECKOUT, assert_sold, page, references};

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_key_is_kept_for_its_cart_and_another_cart_has_another() {
    let shop = CHECKOUT.start(None).await;
    let network = Proxy::start(shop.address).expect("a proxy");
    with_browser(async |browser: Browser| {
        browser.open(&format!("http://{}/", network.address())).await?;
        // The same client as the page's, without its patience.
        let begin = "
            const done = arguments[0];
            import('/payment-client.js').then(({ PaymentClient, NoAnswer }) => {
                const client = new PaymentClient({ patience: 0 });
                window.ask = async (quantity) => {
                    const cart = { variantId: 'test', quantity, amount: 1499 * quantity };
                    return client.pay(cart).then((answer) => answer.status, (error) => error instanceof NoAnswer);
                };
                done();
            });";
        browser.driver().execute_async(begin, Vec::new()).await?;
        network.refuse();
        network.cut();
        for (quantity, answer) in [(1, true.into()), (1, Value::from(true)), (2, true.into()), (2, 201.into())] {
            if answer == 201 {
                network.heal();
            }
            let ask = "const done = arguments[1]; window.ask(arguments[0]).then(done);";
            let told: Value = browser.driver().execute_async(ask, vec![quantity.into()]).await?.convert()?;
            assert_eq!(told, answer);
        }
        let keys = browser.keys().await?;
        assert_eq!(keys.len(), 4);
        assert!(keys[0] == keys[1] && keys[1] != keys[2] && keys[2] == keys[3], "{keys:?}");
        assert_eq!(references(&shop), keys[3..]);
        assert_sold(&shop, "test", 2, 1).await;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_waits_as_it_is_told_and_asks_again_with_the_same_key() {
    let shop = CHECKOUT.start(None).await;
    with_browser(async |browser: Browser| {
        browser.open(&page(&shop)).await?;
        // A server that says what this one does not: each status and header once, then the real answer.
        let script = "
            const done = arguments[0];
            const answers = [[502, null], [500, null], [409, '2'], [503, '0'], [429, new Date(0).toUTCString()]];
            const send = window.fetch;
            const keys = [];
            window.fetch = (url, options) => {
                keys.push(options.headers['Idempotency-Key']);
                const [status, after] = answers.shift() ?? [0];
                if (status === 0) return send(url, options);
                const headers = after === null ? {} : { 'Retry-After': after };
                return Promise.resolve(new Response('{}', { status, headers }));
            };
            import('/payment-client.js').then(async ({ PaymentClient }) => {
                const waits = [];
                const client = new PaymentClient({ onWait: (wait) => waits.push(wait) });
                const { status } = await client.pay({ variantId: 'test', quantity: 1, amount: 1499 });
                done({ status, waits, keys: keys.length, different: new Set(keys).size });
            });";
        let told: Value = browser.driver().execute_async(script, Vec::new()).await?.convert()?;
        let waits = json!([500, 1_000, 2_000, 1_000, 1_000]);
        assert_eq!(told, json!({ "status": 201, "waits": waits, "keys": 6, "different": 1 }));
        assert_sold(&shop, "test", 1, 1).await;
        Ok(())
    })
    .await;
}
