//! The everyday call over the store as services open it, on the system's clock.

use idempotency_store_sled::{SledStore, SledStoreConfig};
use idempotency_testkit::conformance::{self, Capability, Subject};

async fn opened() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(SledStoreConfig::new(folder.path())).await.unwrap();
    Subject::new(store).guarded_by(folder).lacks(Capability::Clock, "it is the system's")
}

#[test]
fn a_duplicate_gets_the_first_value_on_the_systems_clock() {
    conformance::run("a_duplicate_gets_the_first_value", opened()).unwrap_or_else(|failure| panic!("{failure}"));
}
