//! The moves explored to the end.

use idempotency_testkit::model::{Bounds, Moves, explore};

fn soaks() -> bool {
    std::env::var_os("IDEMPOTENCY_SOAK").is_some()
}

#[test]
fn one_key_breaks_no_promise_in_any_state() {
    let explored = explore(Moves::default(), Bounds::one_key(if soaks() { 4 } else { 3 }));
    let explored = explored.unwrap_or_else(|violation| panic!("{violation}"));
    println!("one key: {explored}");
}

#[test]
fn two_keys_break_no_promise() {
    let explored = explore(Moves::default(), Bounds::two_keys(if soaks() { 5 } else { 4 }));
    let explored = explored.unwrap_or_else(|violation| panic!("{violation}"));
    println!("two keys: {explored}");
}
