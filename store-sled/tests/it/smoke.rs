//! The everyday call over the sled store.

use idempotency_store_sled::{SledStore, SledStoreConfig};

use crate::cases;

#[tokio::test]
async fn a_duplicate_gets_the_first_value() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(SledStoreConfig::new(folder.path())).await.unwrap();
    cases::a_duplicate_gets_the_first_value(store).await;
}
