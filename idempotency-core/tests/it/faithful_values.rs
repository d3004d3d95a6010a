//! A value is replayed as it was, or not at all; and no error shows it.

use idempotency_core::{
    Bincode, Completion, Error, How, Idempotency, Key, NotReplayable, Outcome, State, Transform, Transformed,
    Unrecorded,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::support::{KEY, faulty, key_of};

/// 49 characters of which the first reads as a length of 48, should a byte before them go astray.
const REFERENCE: &str = "0123456789012345678901234567890123456789012345678";

async fn give<T: Serialize + DeserializeOwned + Send>(handle: &Idempotency, value: T) -> Result<Outcome<T>, Error> {
    handle.execute_once(&KEY, async { Ok(value) }).await
}

fn is_told(outcome: &Outcome<impl Sized>) -> bool {
    matches!(outcome.how(), How::Unrecorded(Unrecorded::NotEncodable(_)))
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    fee: Option<u64>,
    discount: u64,
    reference: String,
}

/// Without its first field the rest is read one byte off, and every byte is used up all the same.
#[tokio::test(start_paused = true)]
async fn a_field_that_is_skipped_is_found_on_the_first_run() {
    let (_, handle) = faulty();
    let first = give(&handle, Skips { fee: None, discount: 0, reference: REFERENCE.into() }).await.unwrap();
    assert!(is_told(&first), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_never_written_is_found_on_the_first_run() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Hides {
        #[serde(skip_serializing)]
        pin: u8,
        count: u8,
        text: String,
    }
    let (_, handle) = faulty();
    let first = give(&handle, Hides { pin: 1, count: 5, text: format!("!{}", "x".repeat(33)) }).await.unwrap();
    assert!(is_told(&first), "{first:?}");
    assert_eq!((first.pin, first.count), (1, 5));
}

/// The next release put an optional field in front.
#[tokio::test(start_paused = true)]
async fn a_field_that_was_added_is_no_other_value() {
    mod before {
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        pub(super) struct Skips {
            pub(super) discount: u64,
            pub(super) reference: String,
        }
    }
    let (_, handle) = faulty();
    let first = give(&handle, before::Skips { discount: 0, reference: REFERENCE.into() }).await.unwrap();
    assert!(matches!(first.how(), How::Executed));
    let again = give(&handle, Skips { fee: None, discount: 7, reference: String::new() }).await.unwrap_err();
    assert!(matches!(again, Error::NotReplayable { why: NotReplayable::Codec(_), .. }), "{again}");
}

#[cfg(feature = "json")]
mod json {
    use idempotency_core::Json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_json_cannot_say_is_found_on_the_first_run() {
        let (_, handle) = faulty();
        let handle = handle.with_codec(Json);
        assert!(is_told(&give(&handle, Some(f64::INFINITY)).await.unwrap()));
        let (_, handle) = faulty();
        let handle = handle.with_codec(Json);
        assert!(is_told(&give(&handle, Some(None::<u8>)).await.unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn every_float_comes_back_to_the_bit() {
        let (_, handle) = faulty();
        let handle = handle.with_codec(Json);
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        let floats = std::iter::repeat_with(|| {
            bits = bits.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            f64::from_bits(bits)
        });
        let floats: Vec<f64> = floats.filter(|float| float.is_finite()).take(2000).collect();
        let first = give(&handle, floats.clone()).await.unwrap();
        assert!(matches!(first.how(), How::Executed), "{:?}", first.how());
        assert_eq!(*give(&handle, Vec::<f64>::new()).await.unwrap(), floats);
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Card {
        #[serde(serialize_with = "as_text")]
        number: u64,
    }

    fn as_text<S: serde::Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&number.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn no_error_shows_the_value() {
        let (_, handle) = faulty();
        let handle = handle.with_codec(Json);
        let first = give(&handle, Card { number: 4_111_111_111_111_111 }).await.unwrap();
        let How::Unrecorded(why) = first.how() else { panic!("{first:?}") };
        assert!(why.to_string().contains("expected u64"), "{why}");
        assert!(!format!("{why} {why:?}").contains("4111111111111111"), "{why:?}");

        let (_, handle) = faulty();
        let handle = handle.with_codec(Json);
        let _ = give(&handle, "4111-1111".to_owned()).await.unwrap();
        let again = give(&handle, 7_u64).await.unwrap_err();
        assert!(!format!("{again} {again:?}").contains("4111-1111"), "{again:?}");
    }
}

/// Whoever can read the store must not tell from what stands beside the sealed bytes what they say.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_sealed_value_stands_beside_it() {
    #[derive(Debug)]
    struct Blank;
    impl Transform for Blank {
        fn id(&self) -> &str {
            "blank"
        }
        fn seal(&self, _: &Key, _: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
            Ok(b"sealed".to_vec())
        }
        fn open(&self, _: &Key, _: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
            Err("not now".into())
        }
    }
    #[derive(Debug, Serialize, Deserialize)]
    enum Verdict {
        Guilty,
        Innocent,
    }
    let transformed = Transformed::new(Bincode, Blank);
    let mut sealed = Vec::new();
    for verdict in [Verdict::Guilty, Verdict::Innocent] {
        let mut out = Vec::new();
        idempotency_core::Codec::encode(&transformed, &KEY, &verdict, &mut out).unwrap();
        sealed.push(out);
    }
    assert_eq!(sealed[0], sealed[1]);

    #[derive(Debug)]
    struct Xor;
    impl Transform for Xor {
        fn id(&self) -> &str {
            "xor"
        }
        fn seal(&self, _: &Key, plain: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
            Ok(plain.iter().map(|byte| byte ^ 0x5A).collect())
        }
        fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
            self.seal(key, sealed)
        }
    }
    let (store, handle) = faulty();
    let handle = handle.with_codec(Transformed::new(Bincode, Xor));
    let mut heads = Vec::new();
    for (order, verdict) in [("1", Verdict::Guilty), ("2", Verdict::Innocent)] {
        let key = key_of(order);
        let _ = handle.execute_once(&key, async { Ok::<_, Error>(verdict) }).await.unwrap();
        let State::Completed { result: Completion::Value(bytes), .. } = store.record(&key).unwrap().state else {
            panic!("no value")
        };
        // What is sealed is a content of 8 bytes and a variant of one; before it is only the head.
        heads.push(bytes[..bytes.len() - 4 - 9].to_vec());
    }
    assert_eq!(heads[0], heads[1]);
}
