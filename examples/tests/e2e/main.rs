//! The checkout's page in a real browser: what a customer does to it, counted in the provider's ledger and in the stock.
//!
//! By `cargo xtask e2e`, which finds or installs the browser.

mod browser;
mod client;
#[path = "../services/support/service.rs"]
#[expect(dead_code, reason = "the services' tests use more of it")]
mod service;

use std::time::Duration;

use idempotency_testkit::proxy::Proxy;
use serde_json::Value;
use thirtyfour::By;
use tokio::time::sleep;

use browser::{Browser, with_browser};
use service::{Program, Service};

const CHECKOUT: Program = Program { path: env!("CARGO_BIN_EXE_checkout"), options: &[], provider: true };
const STOCK: i64 = 100;

/// The provider waits with the next payment until it is told.
async fn hold(shop: &Service) {
    shop.tell_provider("/next/hold").await;
}

async fn release(shop: &Service) {
    shop.tell_provider("/release").await;
}

/// Checks how many were sold of a variant, and in how many payments.
async fn assert_sold(shop: &Service, variant: &str, sold: i64, payments: usize) {
    let variants: Vec<Value> = shop.look("/api/checkout/variants").await;
    let variant = variants.iter().find(|known| known["id"] == variant).expect("a variant");
    assert_eq!((STOCK - variant["left"].as_i64().expect("a number"), shop.ledger().len()), (sold, payments));
}

fn page(shop: &Service) -> String {
    format!("http://{}/", shop.address)
}

/// The client's key of each payment in the ledger.
fn references(shop: &Service) -> Vec<String> {
    shop.ledger().into_iter().filter_map(|entry| entry.reference).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_is_one_request() {
    let shop = CHECKOUT.start(None).await;
    with_browser(async |browser: Browser| {
        browser.open(&page(&shop)).await?;
        browser.choose("test", "2").await?;
        hold(&shop).await;
        let button = browser.driver().find(By::Id("pay")).await?;
        browser.driver().action_chain().double_click_element(&button).perform().await?;
        // Faster than any hand: before the page could show that the button is off.
        let more = "const form = document.querySelector('#checkout'); form.requestSubmit(); form.requestSubmit();";
        browser.driver().execute(more, Vec::new()).await?;
        shop.until_provider(|seen| seen.held == 1).await;
        assert_eq!(browser.keys().await?.len(), 1);
        release(&shop).await;
        browser.paid().await?;
        assert_sold(&shop, "test", 2, 1).await;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_in_mid_payment_asks_about_the_same_payment() {
    let shop = CHECKOUT.start(None).await;
    with_browser(async |browser: Browser| {
        browser.open(&page(&shop)).await?;
        browser.choose("variant-123", "3").await?;
        hold(&shop).await;
        browser.pay().await?;
        shop.until_provider(|seen| seen.held == 1).await;
        let before = browser.unsettled().await?;
        browser.driver().refresh().await?;
        browser.says("Still waiting").await?;
        assert_eq!(browser.unsettled().await?, before);
        release(&shop).await;
        browser.paid().await?;
        assert_sold(&shop, "variant-123", 3, 1).await;
        assert_eq!(references(&shop), [before["key"].as_str().expect("a key")]);
        assert_eq!(browser.unsettled().await?, Value::Null);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_and_comes_back_is_one_payment() {
    let shop = CHECKOUT.start(None).await;
    let network = Proxy::start(shop.address).expect("a proxy");
    with_browser(async |browser: Browser| {
        browser.open(&format!("http://{}/", network.address())).await?;
        hold(&shop).await;
        browser.pay().await?;
        shop.until_provider(|seen| seen.held == 1).await;
        network.refuse();
        network.cut();
        browser.says("Still waiting").await?;
        // Meanwhile it is paid, and nobody hears of it.
        release(&shop).await;
        while shop.ledger().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        network.heal();
        browser.paid().await?;
        assert_sold(&shop, "test", 1, 1).await;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_in_mid_payment_is_one_payment() {
    let mut shop = CHECKOUT.start(None).await;
    let address = page(&shop);
    with_browser(async |browser: Browser| {
        browser.open(&address).await?;
        hold(&shop).await;
        browser.pay().await?;
        shop.until_provider(|seen| seen.held == 1).await;
        shop.kill_and_restart().await;
        browser.paid().await?;
        // The first attempt's payment, late.
        release(&shop).await;
        shop.until_provider(|seen| seen.held == 0).await;
        assert_sold(&shop, "test", 1, 1).await;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_button_pays_nothing_and_the_next_payment_has_a_key_of_its_own() {
    let shop = CHECKOUT.start(None).await;
    with_browser(async |browser: Browser| {
        browser.open(&page(&shop)).await?;
        browser.pay().await?;
        let order = browser.paid().await?;
        browser.driver().back().await?;
        browser.says(&format!("Your last order, {order}, is paid.")).await?;
        browser.ready().await?;
        assert_eq!(browser.keys().await?, [""; 0]);
        assert_sold(&shop, "test", 1, 1).await;
        // Whoever presses Pay now means another order.
        browser.pay().await?;
        assert_ne!(browser.paid().await?, order);
        assert_sold(&shop, "test", 2, 2).await;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_have_two_keys() {
    let shop = CHECKOUT.start(None).await;
    with_browser(async |browser: Browser| {
        let mut keys = Vec::new();
        let first = browser.driver().window().await?;
        let second = browser.driver().new_tab().await?;
        for (held, tab) in [&first, &second].into_iter().enumerate() {
            browser.driver().switch_to_window(tab.clone()).await?;
            browser.open(&page(&shop)).await?;
            hold(&shop).await;
            browser.pay().await?;
            shop.until_provider(|seen| seen.held == held + 1).await;
            keys.extend(browser.keys().await?);
        }
        release(&shop).await;
        for tab in [first, second] {
            browser.driver().switch_to_window(tab).await?;
            browser.paid().await?;
        }
        assert_sold(&shop, "test", 2, 2).await;
        let mut paid = references(&shop);
        paid.sort();
        keys.sort();
        assert_eq!(paid, keys);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decline_is_shown_and_what_comes_next_has_another_key() {
    let shop = CHECKOUT.start(None).await;
    with_browser(async |browser: Browser| {
        browser.open(&page(&shop)).await?;
        browser.choose("gold-pen", "1").await?;
        browser.pay().await?;
        browser.says("Your card was declined: over the card's limit. You were not charged.").await?;
        assert_sold(&shop, "gold-pen", 0, 0).await;
        assert_eq!(browser.unsettled().await?, Value::Null);
        browser.choose("test", "1").await?;
        let declined = browser.keys().await?;
        hold(&shop).await;
        browser.pay().await?;
        shop.until_provider(|seen| seen.held == 1).await;
        let keys = browser.keys().await?;
        assert!(declined.len() == 1 && keys.len() == 2 && keys[1] != keys[0], "{declined:?} {keys:?}");
        release(&shop).await;
        browser.paid().await?;
        assert_sold(&shop, "test", 1, 1).await;
        Ok(())
    })
    .await;
}
