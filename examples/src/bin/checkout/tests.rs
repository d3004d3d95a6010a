//! The shop's database: what attempts that meet there do to an order.

use std::path::Path;

use crate::cart::Cart;
use crate::shop::{By, Reserved, Shop, ShopError, State};

const STOCK: u32 = 10;

fn shop(folder: &Path) -> Shop {
    Shop::open(&folder.join("shop.jsonl"), STOCK).unwrap()
}

fn cart(quantity: u32) -> Cart {
    Cart { variant_id: "test".into(), quantity, amount: 1_499 * u64::from(quantity) }
}

fn attempt(fence: u64) -> By {
    By { order: "order".into(), key: "key".into(), fence }
}

#[tokio::test]
async fn an_overtaken_attempt_neither_reserves_nor_gives_back() {
    let folder = tempfile::tempdir().unwrap();
    let shop = shop(folder.path());
    for fence in [1, 2] {
        assert!(matches!(shop.reserve(attempt(fence), cart(3)).await, Ok(Reserved::Held)));
    }
    assert_eq!(shop.left("test"), 7);
    shop.give_back(attempt(1), "declined".into()).await.unwrap();
    assert_eq!(shop.left("test"), 7, "the later attempt needs it");
    for _ in 0..2 {
        shop.give_back(attempt(2), "declined".into()).await.unwrap();
        assert_eq!(shop.left("test"), 10, "given back once");
    }
    assert!(matches!(shop.reserve(attempt(1), cart(3)).await, Err(ShopError::Overtaken)));
    assert_eq!(shop.left("test"), 10);
}

#[tokio::test]
async fn what_is_paid_stays_so_and_is_told_to_whoever_reserves() {
    let folder = tempfile::tempdir().unwrap();
    let first = shop(folder.path());
    assert!(matches!(first.reserve(attempt(1), cart(4)).await, Ok(Reserved::Held)));
    for transaction in ["ch_1", "ch_2"] {
        first.paid(attempt(1), transaction.into()).await.unwrap();
    }
    first.give_back(attempt(1), "declined".into()).await.unwrap();
    drop(first);
    let second = shop(folder.path());
    assert!(matches!(&second.reserve(attempt(2), cart(4)).await, Ok(Reserved::Paid(by)) if by == "ch_1"));
    assert!(matches!(&second.find("order").unwrap().state, State::Paid { transaction_id } if transaction_id == "ch_1"));
    assert_eq!(second.left("test"), 6);
}

/// A provider that charges after all, for what was given back: the stock is the customer's, and must not be sold again.
#[tokio::test]
async fn money_that_comes_late_takes_the_stock_again() {
    let folder = tempfile::tempdir().unwrap();
    let late = shop(folder.path());
    assert!(matches!(late.reserve(attempt(1), cart(10)).await, Ok(Reserved::Held)));
    late.give_back(attempt(1), "out of order".into()).await.unwrap();
    late.paid(attempt(1), "ch_1".into()).await.unwrap();
    assert_eq!(late.left("test"), 0);
    assert!(matches!(
        late.reserve(By { order: "other".into(), ..attempt(2) }, cart(1)).await,
        Err(ShopError::SoldOut { left: 0 })
    ));
}
