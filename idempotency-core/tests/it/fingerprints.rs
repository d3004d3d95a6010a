//! What tells one request from another, and what does not.

use std::collections::{BTreeMap, HashMap};

use idempotency_core::Fingerprint;
use proptest::prelude::*;
use serde::Serialize;

fn of<T: Serialize + ?Sized>(value: &T) -> Fingerprint {
    Fingerprint::of(value).unwrap()
}

#[derive(Serialize)]
struct Payment<'a> {
    currency: &'a str,
    amount: u64,
    note: Option<&'a str>,
}

const PAYMENT: Payment<'_> = Payment { currency: "EUR", amount: 1999, note: None };

#[test]
fn the_algorithm_never_changes_silently() {
    // Kept with records for as long as they are remembered: another value after an update would
    // turn every retry into a mismatch. A new algorithm needs a new version.
    let hex =
        |fingerprint: Fingerprint| fingerprint.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((Fingerprint::VERSION, of(&PAYMENT).version()), (1, 1));
    assert_eq!(hex(of(&PAYMENT)), OF_PAYMENT);
    assert_eq!(hex(of(&every_kind())), OF_EVERY_KIND);
    assert_eq!(hex(Fingerprint::of_bytes(b"amount=1999")), OF_BYTES);
}

const OF_PAYMENT: &str = "e9b2d5b8f7b70560991cd794db49b4c923a1e3be4367ccba0b0cfe19fa5c721a";
const OF_EVERY_KIND: &str = "ade2222444aceb0ce50ee7e9a2b6987372ba7f3f4c0251160a626c793eb1b9f8";
const OF_BYTES: &str = "ce7145e41bfb0ab8c85fbbc240c166143b6645d995995e4789ac7c389aba826b";

#[derive(Serialize)]
enum Kind {
    Unit,
    Newtype(u8),
    Tuple(i8, char),
    Struct { some: Option<u8>, none: Option<u8> },
}

#[derive(Serialize)]
struct UnitStruct;

#[derive(Serialize)]
struct TupleStruct(u8, u8);

#[derive(Serialize)]
struct Newtype<T>(T);

fn every_kind() -> impl Serialize {
    let kinds = (Kind::Unit, Kind::Newtype(1), Kind::Tuple(-1, 'x'), Kind::Struct { some: Some(1), none: None });
    let numbers = (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, u16::MAX, u32::MAX, u128::MAX);
    let others =
        (1.5f32, -0.0f64, true, (), UnitStruct, TupleStruct(1, 2), Newtype("text"), BTreeMap::from([(1, "a")]));
    (kinds, numbers, others, Bytes(b"bytes"))
}

struct Bytes(&'static [u8]);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[test]
fn the_order_of_fields_does_not_count() {
    #[derive(Serialize)]
    struct Swapped<'a> {
        note: Option<&'a str>,
        amount: u64,
        currency: &'a str,
    }
    assert_eq!(of(&PAYMENT), of(&Swapped { note: None, amount: 1999, currency: "EUR" }));
    #[derive(Serialize)]
    enum Other {
        Struct { none: Option<u8>, some: Option<u8> },
    }
    assert_eq!(of(&Kind::Struct { some: Some(1), none: None }), of(&Other::Struct { none: None, some: Some(1) }));
}

#[test]
fn an_optional_field_that_is_none_does_not_count() {
    #[derive(Serialize)]
    struct Before<'a> {
        currency: &'a str,
        amount: u64,
    }
    assert_eq!(of(&PAYMENT), of(&Before { currency: "EUR", amount: 1999 }));
    assert_ne!(of(&PAYMENT), of(&Payment { note: Some(""), ..PAYMENT }));
    // In a sequence or map, it does.
    assert_ne!(of(&[Some(1), None]), of(&[Some(1)]));
    assert_ne!(of(&BTreeMap::from([("a", None::<u8>)])), of(&BTreeMap::<&str, Option<u8>>::new()));
    assert_ne!(of(&Some(None::<u8>)), of(&None::<Option<u8>>));
}

#[test]
fn the_width_of_a_number_does_not_count() {
    let seven = of(&7u8);
    for other in [
        of(&7u16),
        of(&7u32),
        of(&7u64),
        of(&7u128),
        of(&7i8),
        of(&7i16),
        of(&7i32),
        of(&7i64),
        of(&7i128),
        of(&7usize),
    ] {
        assert_eq!(other, seven);
    }
    assert_eq!(of(&-7i8), of(&-7i128));
    assert_eq!(of(&0i8), of(&0u8));
    assert_eq!(of(&0.5f32), of(&0.5f64));
    assert_ne!(of(&7), of(&-7));
    assert_ne!(of(&7), of(&7.0));
    assert_ne!(of(&7), of("7"));
    assert_ne!(of(&-1i8), of(&255u8));
}

#[test]
fn the_order_of_a_map_does_not_count_and_that_of_a_sequence_does() {
    let entries: Vec<(String, u32)> = (0..100).map(|n| (n.to_string(), n)).collect();
    let one: HashMap<_, _> = entries.iter().cloned().collect();
    let other: HashMap<_, _> = entries.iter().rev().cloned().collect();
    let sorted: BTreeMap<_, _> = entries.iter().cloned().collect();
    assert_eq!(of(&one), of(&other));
    assert_eq!(of(&one), of(&sorted));
    assert_ne!(of(&[1, 2]), of(&[2, 1]));
    assert_ne!(of(&BTreeMap::from([("a", "b")])), of(&BTreeMap::from([("b", "a")])));
}

#[test]
fn contents_that_read_alike_when_joined_carelessly_differ() {
    assert_ne!(of(&("ab", "c")), of(&("a", "bc")));
    assert_ne!(of(&(vec![1], vec![2, 3])), of(&(vec![1, 2], vec![3])));
    assert_ne!(of(&vec![vec![1, 2]]), of(&vec![vec![1], vec![2]]));
    assert_ne!(of(""), of(&()));
    assert_ne!(of(&Some(1)), of(&1));
    assert_ne!(of(&Kind::Unit), of(&Kind::Newtype(0)));
    assert_ne!(of("Unit"), of(&Kind::Unit));
    assert_ne!(of(&Bytes(b"a")), of("a"));
    assert_ne!(of(&BTreeMap::from([("a", 1)])), of(&[("a", 1)]));
    assert_eq!(of("x"), of(&'x'));
    assert_eq!(of(&Newtype(5)), of(&5));
}

#[test]
fn what_has_a_face_for_people_counts_by_that() {
    assert_eq!(of(&std::net::Ipv4Addr::LOCALHOST), of("127.0.0.1"));
}

#[test]
fn fingerprints_of_bytes_values_versions_and_none_are_never_equal() {
    let bytes = Fingerprint::of_bytes(b"a");
    assert_ne!(bytes, of("a"));
    assert_ne!(bytes, of(&Bytes(b"a")));
    assert_ne!(Fingerprint::from_parts(2, *bytes.as_bytes()), bytes);
    assert_eq!(Fingerprint::from_parts(1, *bytes.as_bytes()), bytes);
    assert_ne!(Fingerprint::NONE, Fingerprint::of_bytes(b""));
    assert_eq!((Fingerprint::NONE.to_string(), Fingerprint::NONE.version()), ("none".into(), 0));
    assert!(bytes.to_string().starts_with("v1:") && bytes.to_string().len() == 19);
    assert_eq!(format!("{bytes:?}"), format!("Fingerprint({bytes})"));
}

#[test]
fn a_request_that_does_not_serialize_is_an_error() {
    let cell = std::cell::RefCell::new(1);
    let borrowed = cell.borrow_mut();
    let error = Fingerprint::of(&cell).unwrap_err().to_string();
    assert!(error.starts_with("the request has no fingerprint"), "{error}");
    assert!(Fingerprint::of(&vec![&cell]).is_err() && Fingerprint::of(&BTreeMap::from([(1, &cell)])).is_err());
    drop(borrowed);
    assert!(Fingerprint::of(&cell).is_ok());
}

/// Any value JSON can say, of few letters and numbers.
fn values() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..300).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]{0,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_values_have_one_fingerprint_exactly_if_they_are_equal(one in values(), other in values()) {
        prop_assert_eq!(of(&one) == of(&other), one == other);
        prop_assert_eq!(of(&one), of(&one.clone()));
    }
}
