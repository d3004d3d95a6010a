//! Keys: what is refused, and that only equal parts make equal keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use idempotency_core::{Fingerprint, Key, KeyBuilder, KeyError, LONGEST_PART, MOST_ID_PARTS, Timestamp};
use proptest::prelude::*;

fn error(builder: KeyBuilder) -> KeyError {
    builder.build().unwrap_err()
}

#[test]
fn an_empty_part_is_refused_and_named() {
    for (builder, named) in [
        (Key::new("", "id"), "operation"),
        (Key::new("op", ""), "id"),
        (Key::new("op", "id").part(""), "id"),
        (Key::new("op", "id").scope(""), "scope"),
    ] {
        assert!(matches!(error(builder), KeyError::Empty { part } if part == named));
    }
}

#[test]
fn a_part_of_255_bytes_is_taken_and_no_longer_one() {
    // Escaped, it is three times as long: the limit is on what was given.
    for letter in ["a", "/", "%"] {
        let longest = letter.repeat(LONGEST_PART);
        let key = Key::new(&longest, &longest).part(&longest).scope(&longest).build().unwrap();
        assert_eq!(Key::parse(key.as_str()).unwrap(), key);
        let longer = letter.repeat(LONGEST_PART + 1);
        for builder in [Key::new(&longer, "id"), Key::new("op", &longer), Key::new("op", "id").scope(&longer)] {
            assert!(matches!(error(builder), KeyError::TooLong { bytes: 256, .. }));
        }
        assert!(matches!(Key::parse(format!("/{}/id", "a".repeat(256))), Err(KeyError::TooLong { .. })));
    }
}

#[test]
fn control_characters_are_refused_and_pointed_at() {
    for (bad, at, found) in [("a\0", 1, '\0'), ("\n", 0, '\n'), ("ä\u{7f}", 2, '\u{7f}'), ("ab\u{85}", 2, '\u{85}')] {
        for builder in [Key::new(bad, "id"), Key::new("op", bad), Key::new("op", "id").part(bad).scope("s")] {
            match error(builder) {
                KeyError::ControlCharacter { at: pointed, found: named, .. } => {
                    assert_eq!((pointed, named), (at, found))
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(Key::parse(format!("s/op/{bad}")), Err(KeyError::ControlCharacter { part: "id", .. })));
    }
    assert!(error(Key::new("op", "\u{85}")).to_string().contains("U+0085 at byte 0"));
}

#[test]
fn what_is_not_utf8_is_refused_and_pointed_at() {
    let bad: &[u8] = b"ab\xff";
    for builder in [Key::new(bad, "id"), Key::new("op", bad), Key::new("op", "id").scope(bad)] {
        assert!(matches!(error(builder), KeyError::NotUtf8 { at: 2, .. }));
    }
    assert!(matches!(Key::parse(b"/op/\xc3"), Err(KeyError::NotUtf8 { at: 4, .. })));
}

#[test]
fn an_id_has_at_most_four_parts() {
    let most = Key::new("op", "1").part("2").part("3").part("4").build().unwrap();
    assert_eq!(most.id_parts().collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    let builder = Key::new("op", "1").part("2").part("3").part("4").part("5");
    assert!(matches!(error(builder), KeyError::TooManyParts { parts: 5 }));
    assert!(matches!(Key::parse("/op/1/2/3/4/5"), Err(KeyError::TooManyParts { parts: 5 })));
    assert_eq!(MOST_ID_PARTS, 4);
}

#[test]
fn the_first_error_is_told() {
    assert!(matches!(error(Key::new("op", "").scope("\n")), KeyError::Empty { part: "id" }));
}

#[test]
fn a_text_that_no_key_has_is_not_parsed() {
    for bad in ["", "a", "/op", "s/op", "/op/%41", "/op/%", "/op/%2f", "/op/a%2", "/%25%/id"] {
        assert!(matches!(Key::parse(bad), Err(KeyError::NotAKey(_))), "{bad}: {:?}", Key::parse(bad));
    }
    for (bad, part) in [("//id", "operation"), ("/op/", "id"), ("/op//x", "id")] {
        assert!(matches!(Key::parse(bad), Err(KeyError::Empty { part: named }) if named == part), "{bad}");
    }
}

#[test]
fn a_key_reads_as_its_parts() {
    let key = Key::new("payment:create", "a/b%2Fc").scope("tenant 7").build().unwrap();
    assert_eq!(key.as_str(), "tenant 7/payment:create/a%2Fb%252Fc");
    assert_eq!((key.scope().as_deref(), key.operation().as_str()), (Some("tenant 7"), "payment:create"));
    assert_eq!(key.id_parts().collect::<Vec<_>>(), ["a/b%2Fc"]);
    assert_eq!((key.to_string(), &*key.to_shared_str()), (key.as_str().to_owned(), key.as_str()));
    assert_eq!(format!("{key:?}"), format!("Key({}, none)", key.as_str()));
    assert_eq!(Key::new("op", "id").build().unwrap().scope(), None);
    assert_eq!(Key::new("op", "id").scope("a").scope("b").build().unwrap().as_str(), "b/op/id");
}

#[test]
fn derived_keys_say_what_they_stand_for() {
    let text = |builder: KeyBuilder| builder.build().unwrap().as_str().to_owned();
    assert_eq!(text(Key::payment("create", "ord_42")), "/payment:create/ord_42");
    assert_eq!(text(Key::refund("ord_42", "re_1")), "/payment:refund/ord_42/re_1");
    assert_ne!(text(Key::refund("ord_42", "re_1")), text(Key::refund("ord_42", "re_2")));
    assert_eq!(text(Key::callback("stripe", "evt_1").scope("t")), "t/callback/stripe/evt_1");
}

#[test]
fn every_moment_of_a_period_is_one_slot() {
    let hour = Duration::from_secs(3600);
    let slot = |seconds: u64, every| {
        Key::schedule_slot("payout", UNIX_EPOCH + Duration::from_secs(seconds), every).build().unwrap()
    };
    assert_eq!(slot(7200, hour).as_str(), "/schedule/payout/3600s/1970-01-01T02:00:00.000000Z");
    assert_eq!(slot(7200, hour), slot(10_799, hour));
    assert_ne!(slot(7200, hour), slot(10_800, hour));
    assert_ne!(slot(7200, hour), slot(7200, hour * 2));
    let last = Timestamp::from_micros(7_200_000_000 + 3_599_999_999);
    assert_eq!(Key::schedule_slot("payout", last, hour).build().unwrap(), slot(7200, hour));
    for bad in [Duration::ZERO, Duration::MAX, Duration::from_nanos(1)] {
        assert!(matches!(error(Key::schedule_slot("payout", SystemTime::now(), bad)), KeyError::Period(_)));
    }
    assert!(Key::schedule_slot("payout", Timestamp::from_micros(u64::MAX), hour).build().is_ok());
}

#[test]
fn a_payload_is_its_own_key() {
    let key = |payload: &(&str, u32)| Key::from_payload("import", payload).build().unwrap();
    assert_eq!(key(&("a", 1)), key(&("a", 1)));
    assert_ne!(key(&("a", 1)).as_str(), key(&("a", 2)).as_str());
    assert_eq!(key(&("a", 1)).fingerprint(), Fingerprint::of(&("a", 1)).unwrap());
    assert!(key(&("a", 1)).as_str().starts_with("/import/payload-v1-"));
    let failing = std::cell::RefCell::new(1);
    let _borrowed = failing.borrow_mut();
    assert!(matches!(error(Key::from_payload("import", &failing)), KeyError::Fingerprint(_)));
    assert!(matches!(error(Key::new("op", "id").request(&failing)), KeyError::Fingerprint(_)));
}

#[test]
fn a_key_stands_for_its_request() {
    let plain = Key::new("op", "id").build().unwrap();
    let requested = Key::new("op", "id").request(&7).build().unwrap();
    assert_eq!(plain.fingerprint(), Fingerprint::NONE);
    assert_ne!(plain, requested);
    assert_eq!(plain.clone().with_fingerprint(Fingerprint::of(&7).unwrap()), requested);
    assert_eq!(Key::parse(requested.as_str()).unwrap(), plain);
    let raw = Key::new("op", "id").request_bytes(b"7").build().unwrap();
    assert_eq!(raw.fingerprint(), Fingerprint::of_bytes(b"7"));
}

#[test]
fn the_downstream_key_never_changes() {
    let key = Key::payment("create", "ord_42").scope("tenant-7").request(&("EUR", 1999)).build().unwrap();
    // A provider deduplicates on this: another value after an update would let it charge twice.
    assert_eq!(key.downstream().as_str(), DOWNSTREAM);
    assert_eq!(key.downstream_for("capture").to_string(), DOWNSTREAM_FOR_CAPTURE);
    assert_eq!(String::from(key.downstream_for("")), DOWNSTREAM);
}

const DOWNSTREAM: &str = "1977c797-6e23-8d71-a72a-482abe7665e9";
const DOWNSTREAM_FOR_CAPTURE: &str = "98e156b4-c078-8a4e-929e-2ff0c400941d";

#[test]
fn downstream_keys_differ_by_key_request_and_call_and_have_the_form_of_a_uuid() {
    let key = |id: &str, request: u8| Key::new("op", id).request(&request).build().unwrap();
    let all = [
        key("a", 1).downstream(),
        key("b", 1).downstream(),
        key("a", 2).downstream(),
        key("a", 1).downstream_for("x"),
        Key::new("op", "a").build().unwrap().downstream(),
    ];
    for (n, one) in all.iter().enumerate() {
        assert!(all[n + 1..].iter().all(|other| one != other));
        let text = one.as_str();
        let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!((text.len(), dashes), (36, vec![8, 13, 18, 23]));
        assert_eq!(&text[14..15], "8");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"));
        assert!(text.chars().all(|c| c == '-' || c.is_ascii_hexdigit() && !c.is_ascii_uppercase()));
    }
}

/// Parts of few letters, so that careless joining would soon collide.
fn parts() -> impl Strategy<Value = (Option<String>, String, Vec<String>)> {
    let part = "[ab/%25F:]{1,4}";
    (prop::option::of(part), part, prop::collection::vec(part, 1..=4))
}

fn built((scope, operation, id): &(Option<String>, String, Vec<String>)) -> Key {
    let builder = id[1..].iter().fold(Key::new(operation, &id[0]), |key, part| key.part(part));
    scope.iter().fold(builder, |key, scope| key.scope(scope)).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_keys_are_equal_exactly_if_all_parts_are(one in parts(), other in parts()) {
        prop_assert_eq!(built(&one).as_str() == built(&other).as_str(), one == other);
    }

    /// The same letters, cut elsewhere.
    #[test]
    fn parts_cut_elsewhere_are_another_key(text in "[a/%]{3,6}", at in 1usize..3, other in 1usize..3) {
        let cut = |at: usize| Key::new(&text[..at], &text[at..]).build().unwrap();
        prop_assert_eq!(cut(at) == cut(other), at == other);
        let (whole, parts) = (Key::new("op", &text), Key::new("op", &text[..at]).part(&text[at..]));
        prop_assert_ne!(whole.build().unwrap(), parts.build().unwrap());
    }

    #[test]
    fn a_key_is_parsed_back_from_its_text(parts in parts()) {
        let key = built(&parts);
        let parsed = Key::parse(key.as_str()).unwrap();
        prop_assert_eq!(&parsed, &key);
        prop_assert_eq!((parsed.scope(), parsed.operation(), parsed.id_parts().collect::<Vec<_>>()), parts);
    }

    #[test]
    fn any_parts_that_are_taken_come_back(operation in "\\PC{1,20}", id in "\\PC{1,20}", scope in "\\PC{1,20}") {
        if let Ok(key) = Key::new(&operation, &id).scope(&scope).build() {
            prop_assert_eq!(Key::parse(key.as_str()).unwrap(), key.clone());
            prop_assert_eq!((key.operation(), key.id_parts().collect::<Vec<_>>()), (operation, vec![id]));
        }
    }

    #[test]
    fn any_text_is_a_key_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(key) = Key::parse(&bytes) {
            prop_assert_eq!(key.as_str().as_bytes(), bytes);
        }
    }
}
