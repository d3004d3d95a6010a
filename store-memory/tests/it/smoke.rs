//! The everyday call over the store as services make it, on the system's clock.

use idempotency_store_memory::MemoryStore;
use idempotency_testkit::conformance::{self, Capability, Subject};

#[test]
fn a_duplicate_gets_the_first_value_on_the_systems_clock() {
    let subject = Subject::new(MemoryStore::new()).lacks(Capability::Clock, "it is the system's");
    conformance::run("a_duplicate_gets_the_first_value", subject).unwrap_or_else(|failure| panic!("{failure}"));
}
