//! What is stored is read for as long as it is remembered: the formats never change silently.
//!
//! If one of these fails, do not change the literal: keep reading the old format beside the new one.

use std::collections::BTreeMap;
use std::time::Duration;

use idempotency_core::{
    Attributes, Completion, Context, Ended, Error, Fence, Fingerprint, Lock, OnUnknown, Owner, Prior, Record, State,
    Timestamp, content_of, envelope,
};
use serde::{Deserialize, Serialize};

use crate::support::{KEY, faulty};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn record(state: State) -> Record {
    Record {
        fingerprint: Fingerprint::from_parts(1, [7; 32]),
        lock: Lock { owner: Owner::from_u128(u128::MAX - 1), fence: Fence::new(1_700_000_000_000_001) },
        attempt: 3,
        prior: Some(Prior {
            attempt: 2,
            fence: Fence::new(1_700_000_000_000_000),
            ended_at: Timestamp::from_micros(5),
            ended: Ended::Told,
            remembered_until: Timestamp::from_micros(6),
        }),
        on_unknown: OnUnknown::Reconcile,
        acquired_at: Timestamp::from_micros(1_700_000_000_000_002),
        context: Context::default().with_correlation_id("c-1").unwrap(),
        attributes: Attributes::default().with("source", "web").unwrap(),
        state,
    }
}

#[test]
fn a_record_has_the_bytes_it_always_had() {
    let second = Duration::from_secs(1);
    let running = State::InProgress {
        lease_until: Timestamp::from_micros(9),
        confirmed: true,
        retention: second,
        unknown_retention: second * 2,
    };
    let result = Completion::Value(b"value".as_slice().into());
    let completed = State::Completed { at: Timestamp::from_micros(9), until: Timestamp::from_micros(10), result };
    assert_eq!(hex(&envelope::encode(&KEY, &record(running))), RUNNING);
    assert_eq!(hex(&envelope::encode(&KEY, &record(completed))), COMPLETED);
}

const RUNNING: &str = "6964656d016d000000010707070707070707070707070707070707070707070707070707070707070707fefefffffffffffffffffffffffffffffffd01401e18240a0600030102fd00401e18240a060005010601fd02401e18240a0600000103632d310106736f757263650377656200090101000200d9130983";
const COMPLETED: &str = "6964656d016f000000010707070707070707070707070707070707070707070707070707070707070707fefefffffffffffffffffffffffffffffffd01401e18240a0600030102fd00401e18240a060005010601fd02401e18240a0600000103632d310106736f757263650377656203090a0076616c7565c4ae3892";

/// A number of another kind, name or place than was written is told by this number alone.
#[test]
fn a_content_has_the_number_it_always_had() {
    #[derive(Serialize)]
    enum Kind {
        Unit,
        Newtype(u8),
        Tuple(u8, u8),
        Struct { field: u8 },
        LastUnit,
    }
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Newtype(u8);
    #[derive(Serialize)]
    struct Tuple(u8, u8);
    struct Raw(&'static [u8]);
    impl Serialize for Raw {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(self.0)
        }
    }
    let kinds = (Kind::Unit, Kind::Newtype(1), Kind::Tuple(2, 3), Kind::Struct { field: 4 }, Kind::LastUnit);
    let newtypes: Vec<_> = (0..8).map(Kind::Newtype).collect();
    let integers = (-1i8, -2i16, -3i32, -4i64, -5i128, 1u8, 2u16, 3u32, 4u64, 5u128);
    let scalars = (true, 'c', 0.5f32, 0.25f64, "longer than eight", Raw(b"bytes"), ());
    let named = (Unit, Newtype(1), Tuple(2, 3), None::<u8>, Some(4u8));
    let parts = (vec![1u8, 2], BTreeMap::from([("a", 1u8), ("b", 2)]));
    // Of two faces, the one that is stored.
    let faces = std::net::Ipv4Addr::LOCALHOST;
    let all: [&dyn erased_serde::Serialize; 7] = [&kinds, &newtypes, &integers, &scalars, &named, &parts, &faces];
    assert_eq!(all.map(|value| format!("{:016x}", content_of(value))), CONTENTS);
}

const CONTENTS: [&str; 7] = [
    "7400ac7494093bd5",
    "74fff314272b3acf",
    "58cacb994c6933d3",
    "df1ad17e7db32d8e",
    "a33113dabfe31dbc",
    "6452188f564ba74b",
    "ae2914969a05ecb2",
];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Paid { charged: u64, lines: Vec<(u8, String)> },
    Declined(Option<String>),
}

#[tokio::test(start_paused = true)]
async fn a_value_has_the_bytes_it_always_had() {
    let (store, handle) = faulty();
    let answer = Answer::Paid { charged: 1999, lines: vec![(1, "one".into()), (2, "two".into())] };
    let _ = handle.execute_once(&KEY, async { Ok::<_, Error>(answer) }).await.unwrap();
    let State::Completed { result: Completion::Value(bytes), .. } = store.record(&KEY).unwrap().state else { panic!() };
    assert_eq!(hex(&bytes), VALUE);
    assert_ne!(Answer::Declined(None), Answer::Declined(Some(String::new())));
}

const VALUE: &str = "6976010862696e636f6465321369743a3a666f726d6174733a3a416e73776572bbbd1486bf40876800fbcf070201036f6e65020374776f955febf4";
