//! The moves explored to the end; and moves with one rule of the contract left out, each of which is
//! caught by a shortest path.

mod moves;

use idempotency_testkit::model::{Bounds, Moves, explore};

fn soaks() -> bool {
    std::env::var_os("IDEMPOTENCY_SOAK").is_some()
}

fn breaks_nothing(bounds: Bounds) {
    match explore(Moves::default(), bounds) {
        Ok(explored) => println!("{} keys: {explored}", bounds.keys),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn one_key_breaks_no_promise_in_any_state() {
    breaks_nothing(Bounds::one_key(if soaks() { 4 } else { 3 }));
}

#[test]
fn two_keys_break_no_promise() {
    breaks_nothing(Bounds::two_keys(if soaks() { 5 } else { 4 }));
}

#[test]
fn a_rule_left_out_is_found_by_a_shortest_path() {
    for (rule_left_out, moves, rule, steps) in moves::table() {
        let violation = match explore(moves, Bounds::one_key(3)) {
            Ok(explored) => panic!("without \"{rule_left_out}\" nothing is found in {explored}"),
            Err(violation) => violation,
        };
        println!("without \"{rule_left_out}\"\n{violation}\n");
        assert_eq!((violation.rule, violation.path.len()), (rule, steps), "{rule_left_out}: {violation}");
    }
}

/// The path is replayed with its answers, and its last answer is the wrong one.
#[test]
fn a_violation_reads_as_a_story() {
    let (_, moves, ..) = moves::table().remove(0);
    let text = explore(moves, Bounds::one_key(3)).expect_err("it is broken").to_string();
    for part in
        ["broken: ", "at the last step: ", "1. key 0: owner 0 acquires (policy RunAgain) -> acquired: attempt 1"]
    {
        assert!(text.contains(part), "no \"{part}\" in\n{text}");
    }
}
