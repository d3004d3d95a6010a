//! What logs and people are shown: names and numbers, and nothing of a value.

use idempotency_core::{Completion, Fence, Notifier, Omitted, Owner, Watch};

#[test]
fn of_a_result_only_its_length_is_shown() {
    assert_eq!(format!("{:?}", Completion::Value(b"4111-1111".as_slice().into())), "Value(9 bytes)");
    assert_eq!(format!("{:?}", Completion::Omitted(Omitted::Settled)), "Omitted(Settled)");
}

#[test]
fn owners_and_fences_are_shown_as_their_numbers() {
    let owner = Owner::from_u128(0xABC);
    assert_eq!(owner.to_string(), "00000000000000000000000000000abc");
    assert_eq!(format!("{owner:?}"), format!("Owner({owner})"));
    assert_eq!(Fence::new(17).to_string(), "17");
}

#[test]
fn what_has_nothing_to_show_is_shown_by_its_name() {
    assert_eq!(format!("{:?}", Watch::never()), "Watch");
    assert_eq!(format!("{:?}", Notifier::new()), "Notifier { .. }");
}
