//! The everyday call over the memory store.

use idempotency_store_memory::MemoryStore;

use crate::cases;

#[tokio::test]
async fn a_duplicate_gets_the_first_value() {
    cases::a_duplicate_gets_the_first_value(MemoryStore::new()).await;
}
