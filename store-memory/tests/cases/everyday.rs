//! The everyday call.

use idempotency_core::{Error, Idempotency, IdempotencyStore, Key};

pub(crate) async fn a_duplicate_gets_the_first_value(store: impl IdempotencyStore) {
    let idempotency = Idempotency::new(store);
    let key = Key::new("payment:create", "ord_42").request(&1999).build().unwrap();
    let first = idempotency.execute_once(&key, async { Ok::<_, Error>("charged".to_owned()) }).await.unwrap();
    assert!(!first.is_replay());
    let again =
        idempotency.execute_once(&key, async { panic!("must not run") as Result<String, Error> }).await.unwrap();
    assert!(again.is_replay());
    assert_eq!(*again, "charged");
    let other = Key::new("payment:create", "ord_42").request(&1).build().unwrap();
    let error = idempotency.execute_once(&other, async { Ok::<_, Error>(String::new()) }).await.unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}
