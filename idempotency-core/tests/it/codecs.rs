//! Stored values: damaged, sealed, written by another codec.

use idempotency_core::{
    Bincode, CodecError, Completion, Error, How, Key, NotReplayable, State, Transform, Transformed, Unrecorded,
};

use crate::support::{KEY, Method, faulty, key_of};
use crate::values::{give, told_without_a_run};

#[tokio::test(start_paused = true)]
async fn any_damage_of_a_stored_value_is_an_error_and_no_second_run() {
    let (store, handle) = faulty();
    let _ = give(&handle, (7u32, "paid".to_owned())).await.unwrap();
    let State::Completed { result: Completion::Value(good), .. } = store.record(&KEY).unwrap().state else { panic!() };
    let put = |bytes: Vec<u8>| {
        store.tamper(&KEY, |record| {
            let State::Completed { result, .. } = &mut record.state else { panic!() };
            *result = Completion::Value(bytes.into());
        });
    };
    let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    bad.extend((0..good.len() * 8).map(|bit| {
        let mut bytes = good.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    }));
    bad.push([good.as_ref(), &[0]].concat());
    bad.push(b"iv\x01\x00\x00\x00\x00".to_vec());
    for bytes in bad {
        put(bytes.clone());
        match told_without_a_run::<(u32, String)>(&handle).await {
            NotReplayable::Codec(CodecError::Damaged { bytes: found, what }) => {
                assert_eq!(found, bytes.len());
                assert!(!what.is_empty());
            }
            other => panic!("{other:?} of {bytes:02x?}"),
        }
    }
    // A head that is cut off under a checksum that fits: a defect of the writer.
    for head in [&b"iv\x01"[..], b"iv\x01\x09x", b"iv\x01\x01\xff\x00", b"iv\x01\x01x\x09ab"] {
        let mut bytes = head.to_vec();
        bytes.extend(crc32fast::hash(head).to_le_bytes());
        put(bytes);
        let why = told_without_a_run::<(u32, String)>(&handle).await;
        assert!(matches!(why, NotReplayable::Codec(CodecError::Damaged { .. })), "{why:?}");
    }
    put(good.to_vec());
    assert_eq!(give(&handle, (8u32, String::new())).await.unwrap().0, 7);
}

/// XORs with a byte made of the key.
#[derive(Debug)]
struct Sealed(bool);

impl Transform for Sealed {
    fn id(&self) -> &str {
        "xor1"
    }
    fn seal(&self, key: &Key, plain: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        if self.0 { Err("no key to seal with".into()) } else { self.open(key, plain) }
    }
    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let mask = key.as_str().len() as u8;
        Ok(sealed.iter().map(|byte| byte ^ mask ^ 0xA5).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_transform_hides_the_value_and_another_codec_is_named() {
    let (store, handle) = faulty();
    let sealing = handle.clone().with_codec(Transformed::new(Bincode, Sealed(false)));
    assert!(matches!(give(&sealing, "secret".to_owned()).await.unwrap().how(), How::Executed));
    assert_eq!(*give(&sealing, String::new()).await.unwrap(), "secret");
    let State::Completed { result: Completion::Value(kept), .. } = store.record(&KEY).unwrap().state else { panic!() };
    assert!(!kept.windows(6).any(|window| window == b"secret"));
    assert!(!format!("{:?}", store.record(&KEY)).contains("secret"));
    match told_without_a_run::<String>(&handle).await {
        NotReplayable::Codec(error @ CodecError::OtherCodec { .. }) => {
            assert!(
                error.to_string().contains("`xor1(bincode2)`") && error.to_string().contains("`bincode2`"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    // A call's own codec, and one that fails to seal.
    let other = key_of("other");
    let failing = handle.call(&other).codec(Transformed::new(Bincode, Sealed(true)));
    let outcome = failing.run(async |_| Ok::<u32, Error>(1)).await.unwrap();
    assert!(matches!(outcome.how(), How::Unrecorded(Unrecorded::NotEncodable(_))));
    assert_eq!(store.count(Method::Store), 2);
}

#[cfg(feature = "json")]
#[tokio::test(start_paused = true)]
async fn json_goes_through_a_transform_too() {
    let (_, handle) = faulty();
    let sealing = handle.clone().with_codec(Transformed::new(idempotency_core::Json, Sealed(false)));
    assert!(matches!(give(&sealing, vec![1u8, 2]).await.unwrap().how(), How::Executed));
    assert_eq!(*give(&sealing, Vec::<u8>::new()).await.unwrap(), [1, 2]);
    let told = told_without_a_run::<Vec<u8>>(&handle.with_codec(idempotency_core::Json)).await.to_string();
    assert!(told.contains("`xor1(json)`") && told.contains("by `json`"), "{told}");
}

/// Adds a byte that no value reads.
#[cfg(feature = "json")]
#[derive(Debug)]
struct Padded;

#[cfg(feature = "json")]
impl Transform for Padded {
    fn id(&self) -> &str {
        "padded"
    }
    fn seal(&self, _: &Key, plain: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Ok([plain, b"0"].concat())
    }
    fn open(&self, _: &Key, sealed: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(sealed.to_vec())
    }
}

#[cfg(feature = "json")]
#[tokio::test(start_paused = true)]
async fn json_with_bytes_left_over_is_an_error() {
    let (_, handle) = faulty();
    let padded = handle.with_codec(Transformed::new(idempotency_core::Json, Padded));
    let first = give(&padded, "text".to_owned()).await.unwrap();
    assert!(matches!(first.how(), How::Unrecorded(Unrecorded::NotEncodable(_))), "{:?}", first.how());
}

#[cfg(feature = "json")]
#[tokio::test(start_paused = true)]
async fn json_reads_what_changed_its_shape_and_values_that_describe_themselves() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Shrunk {
        charged: u64,
        gone: u8,
    }
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Grown {
        charged: u64,
        #[serde(default)]
        note: Option<String>,
    }
    let (_, handle) = faulty();
    let handle = handle.with_codec(idempotency_core::Json);
    let _ = give(&handle, Shrunk { charged: 7, gone: 1 }).await.unwrap();
    let grown = give(&handle, Grown { charged: 0, note: None }).await.unwrap();
    assert_eq!((grown.charged, grown.note.as_deref()), (7, None));
    let refused = told_without_a_run::<u32>(&handle).await.to_string();
    assert!(refused.contains("Shrunk") && refused.contains("u32"), "{refused}");

    let (_, handle) = faulty();
    let handle = handle.with_codec(idempotency_core::Json);
    let value = serde_json::json!({"paid": [1, null]});
    let _ = give(&handle, value.clone()).await.unwrap();
    assert_eq!(*give(&handle, serde_json::Value::Null).await.unwrap(), value);

    let (_, handle) = faulty();
    let handle = handle.with_codec(idempotency_core::Json);
    assert!(matches!(give(&handle, f64::NAN).await.unwrap().how(), How::Unrecorded(Unrecorded::NotEncodable(_))));
}
