//! Values that cannot be stored, or cannot be read again.

use std::collections::{HashMap, HashSet};

use idempotency_core::{
    Attempt, CodecError, Completion, Error, How, NotReplayable, Omitted, Outcome, Replay, State, Status, Unrecorded,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{Faulty, KEY, faulty};

type Answer<T> = Result<Outcome<T>, Error>;

pub(crate) async fn give<T: Replay>(handle: &idempotency_core::Idempotency, value: T) -> Answer<T> {
    handle.execute_once(&KEY, async move { Ok(value) }).await
}

/// Asserts that a duplicate is told that it is done and why there is no value, and that nothing runs.
pub(crate) async fn told_without_a_run<T: Replay + std::fmt::Debug>(
    handle: &idempotency_core::Idempotency,
) -> NotReplayable {
    let again = handle.execute_once::<T, Error>(&KEY, async { panic!("a second run") }).await;
    match again {
        Err(Error::NotReplayable { key, attempt: 1, why }) if key == *KEY => why,
        other => panic!("{other:?}"),
    }
}

fn omitted(store: &Faulty) -> Omitted {
    match store.record(&KEY).unwrap().state {
        State::Completed { result: Completion::Omitted(why), .. } => why,
        other => panic!("{other:?}"),
    }
}

#[derive(Debug, PartialEq)]
struct Unwritable(u32);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        if self.0 == 0 {
            panic!("in the value's own Serialize")
        }
        Err(serde::ser::Error::custom("not today"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u32::deserialize(from).map(Self)
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_does_not_encode_is_the_callers_and_the_fact_is_recorded() {
    for value in [Unwritable(1), Unwritable(0)] {
        let (store, handle) = faulty();
        let first = give(&handle, value).await.unwrap();
        let How::Unrecorded(Unrecorded::NotEncodable(error)) = first.how() else { panic!("{first:?}") };
        assert!(error.to_string().contains("Unwritable does not encode"), "{error}");
        assert!(first.recorded().is_err());
        assert_eq!(omitted(&store), Omitted::NotEncodable);
        assert!(matches!(told_without_a_run::<u32>(&handle).await, NotReplayable::Omitted(Omitted::NotEncodable)));
    }
}

/// Encodes, but never decodes.
#[derive(Debug, Serialize)]
struct OneWay(u32);

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("in the value's own Deserialize")
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_does_not_decode_is_found_on_the_first_run() {
    let (store, handle) = faulty();
    let first = give(&handle, serde_json::json!({"paid": true})).await.unwrap();
    let How::Unrecorded(Unrecorded::NotEncodable(error)) = first.how() else { panic!("{first:?}") };
    assert!(error.to_string().contains("does not decode as serde_json::value::Value"), "{error}");
    assert_eq!(omitted(&store), Omitted::NotEncodable);
    assert!(matches!(told_without_a_run::<u32>(&handle).await, NotReplayable::Omitted(Omitted::NotEncodable)));

    let (store, handle) = faulty();
    let first = give(&handle, OneWay(1)).await.unwrap();
    let How::Unrecorded(Unrecorded::NotEncodable(error)) = first.how() else { panic!("{first:?}") };
    assert!(
        error.to_string().contains("OneWay does not decode as") && error.to_string().contains("it panicked"),
        "{error}"
    );
    assert_eq!(omitted(&store), Omitted::NotEncodable);
}

#[tokio::test(start_paused = true)]
async fn a_value_over_the_limit_is_the_callers_and_the_fact_is_recorded() {
    let (store, handle) = faulty();
    let handle = handle.with_result_limit(1000);
    let first = give(&handle, "x".repeat(1000)).await.unwrap();
    assert!(matches!(first.how(), How::Unrecorded(Unrecorded::TooLarge { bytes: 1001.., limit: 1000 })), "{first:?}");
    assert_eq!(first.len(), 1000);
    assert_eq!(omitted(&store), Omitted::TooLarge);
    assert!(matches!(told_without_a_run::<String>(&handle).await, NotReplayable::Omitted(Omitted::TooLarge)));
}

#[tokio::test(start_paused = true)]
async fn a_value_as_large_as_the_limit_is_kept() {
    let (_, handle) = faulty();
    let value = "x".repeat(2 << 20);
    let over = give(&handle, value.clone()).await.unwrap();
    let How::Unrecorded(Unrecorded::TooLarge { bytes, .. }) = *over.how() else { panic!("{:?}", over.how()) };
    for (limit, kept) in [(bytes - 1, false), (bytes, true)] {
        let (_, handle) = faulty();
        let first = give(&handle.with_result_limit(limit), value.clone()).await.unwrap();
        assert_eq!(matches!(first.how(), How::Executed), kept);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_fact_is_kept_where_only_the_fact_may_be() {
    let (store, handle) = faulty();
    let first = handle.call(&KEY).keep_fact_only().run(async |_| Ok::<_, Error>("secret".to_owned())).await.unwrap();
    assert!(matches!(first.how(), How::Executed));
    assert_eq!(omitted(&store), Omitted::ByChoice);
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Completed { omitted: Some(Omitted::ByChoice), .. }));
    assert!(matches!(told_without_a_run::<String>(&handle).await, NotReplayable::Omitted(Omitted::ByChoice)));
}

#[tokio::test(start_paused = true)]
async fn an_operation_may_say_that_only_the_fact_is_to_be_kept() {
    let (store, handle) = faulty();
    let secret = |attempt: Attempt| async move {
        attempt.keep_fact_only();
        Ok::<_, Error>("secret".to_owned())
    };
    let first = handle.call(&KEY).run(secret).await.unwrap();
    assert!(matches!(first.how(), How::Executed));
    assert_eq!(omitted(&store), Omitted::ByChoice);
    assert!(matches!(told_without_a_run::<String>(&handle).await, NotReplayable::Omitted(Omitted::ByChoice)));
}

#[allow(dead_code, reason = "made and read by serde")]
mod before {
    #[derive(Debug, super::Serialize, super::Deserialize)]
    pub(super) struct Payment {
        pub(super) charged: u64,
        pub(super) refunded: u64,
    }
    #[derive(Debug, super::Serialize, super::Deserialize)]
    pub(super) enum Answer {
        Paid,
        Declined,
    }
}

#[allow(dead_code, reason = "made and read by serde")]
mod swapped {
    #[derive(Debug, super::Serialize, super::Deserialize)]
    pub(super) struct Payment {
        pub(super) refunded: u64,
        pub(super) charged: u64,
    }
    #[derive(Debug, super::Serialize, super::Deserialize)]
    pub(super) enum Answer {
        Declined,
        Paid,
    }
}

#[allow(dead_code, reason = "made and read by serde")]
mod renamed {
    #[derive(Debug, super::Serialize, super::Deserialize)]
    pub(super) enum Answer {
        Settled,
        Declined,
    }
}

/// Stores a value, reads it as another type, and gives the error.
async fn read_as<T: Replay, U: Replay + std::fmt::Debug>(value: T) -> String {
    let (_, handle) = faulty();
    assert!(matches!(give(&handle, value).await.unwrap().how(), How::Executed));
    match told_without_a_run::<U>(&handle).await {
        NotReplayable::Codec(CodecError::Shape { .. } | CodecError::Decode { .. }) => {}
        other => panic!("{other:?}"),
    }
    let again = handle.execute_once::<U, Error>(&KEY, async { panic!("a second run") }).await;
    again.unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_value_of_another_type_is_an_error_that_names_both() {
    let names = |error: &str, both: [&str; 2]| both.iter().all(|name| error.contains(name));
    let swapped = read_as::<_, swapped::Payment>(before::Payment { charged: 7, refunded: 0 }).await;
    assert!(names(&swapped, ["before::Payment", "swapped::Payment"]), "{swapped}");
    for error in [
        read_as::<_, swapped::Answer>(before::Answer::Declined).await,
        read_as::<_, swapped::Answer>(before::Answer::Paid).await,
    ] {
        assert!(names(&error, ["before::Answer", "swapped::Answer"]), "{error}");
    }
    let renamed = read_as::<_, renamed::Answer>(before::Answer::Paid).await;
    assert!(names(&renamed, ["before::Answer", "renamed::Answer"]), "{renamed}");
    for error in [
        read_as::<u32, u64>(1).await,
        read_as::<u32, i32>(1).await,
        read_as::<u64, String>(1).await,
        read_as::<(u8, u8), u8>((1, 2)).await,
        read_as::<Option<u8>, u8>(Some(1)).await,
        read_as::<String, before::Payment>("text".into()).await,
        read_as::<(u32, String), (String, u32)>((1, "a".into())).await,
        read_as::<Vec<(u8, u8)>, Vec<u8>>(vec![(1, 2)]).await,
    ] {
        assert!(error.contains("the stored ") && error.contains("/payment:create/ord_42"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_value_comes_back_as_it_was() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        Newtype(i8),
        Tuple(i16, i32),
        Struct { wide: i128, wider: u128 },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        kinds: Vec<Kind>,
        map: HashMap<String, (u16, bool)>,
        set: HashSet<char>,
        nested: Option<Option<Box<Self>>>,
        floats: [f64; 2],
        small: f32,
        unit: (),
        bytes: u8,
        wide: i64,
        named: (Pair, Alone, Unit),
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Pair(u8, char);
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Alone(String);
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;
    let (_, handle) = faulty();
    let inner = Everything {
        kinds: vec![
            Kind::Unit,
            Kind::Newtype(-1),
            Kind::Tuple(2, 3),
            Kind::Struct { wide: i128::MIN, wider: u128::MAX },
        ],
        map: (0..40).map(|n| (n.to_string(), (n, true))).collect(),
        set: ('a'..='z').collect(),
        nested: Some(None),
        floats: [0.1, f64::INFINITY],
        small: 0.5,
        unit: (),
        bytes: 255,
        wide: i64::MIN,
        named: (Pair(1, 'c'), Alone("a".into()), Unit),
    };
    let value = Everything { nested: Some(Some(Box::new(inner.clone()))), ..inner };
    assert!(matches!(give(&handle, value.clone()).await.unwrap().how(), How::Executed));
    assert_eq!(give(&handle, value.clone()).await.unwrap().into_inner(), value);
}
