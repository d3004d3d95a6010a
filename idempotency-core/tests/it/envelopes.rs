//! Records as bytes: every one comes back, and no other byte sequence does.

use std::time::Duration;

use idempotency_core::envelope::{Damage, decode, encode};
use idempotency_core::{
    Attributes, Completion, Context, Ended, Fence, Fingerprint, Key, Lock, Omitted, OnUnknown, Owner, Prior, Record,
    State, Timestamp,
};
use proptest::prelude::*;

use crate::support::{KEY, key_of};

fn times() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_micros)
}

fn fences() -> impl Strategy<Value = Fence> {
    any::<u64>().prop_map(Fence::new)
}

fn priors() -> impl Strategy<Value = Prior> {
    let ended = prop::sample::select(vec![Ended::Lapsed, Ended::Told]);
    (any::<u32>(), fences(), times(), ended, times()).prop_map(|(attempt, fence, ended_at, ended, remembered_until)| {
        Prior { attempt, fence, ended_at, ended, remembered_until }
    })
}

fn states() -> impl Strategy<Value = State> {
    let omitted = prop::sample::select(vec![
        Omitted::ByChoice,
        Omitted::NotEncodable,
        Omitted::TooLarge,
        Omitted::RefusedByStore,
        Omitted::Settled,
    ]);
    let results = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|value| Completion::Value(value.into())),
        omitted.prop_map(Completion::Omitted),
    ];
    prop_oneof![
        (times(), any::<bool>(), any::<[Duration; 2]>()).prop_map(
            |(lease_until, confirmed, [retention, unknown_retention])| {
                State::InProgress { lease_until, confirmed, retention, unknown_retention }
            }
        ),
        times().prop_map(|until| State::Unknown { until }),
        times().prop_map(|until| State::Released { until }),
        (times(), times(), results).prop_map(|(at, until, result)| State::Completed { at, until, result }),
    ]
}

prop_compose! {
    fn records()(
        fingerprint in (any::<u8>(), any::<[u8; 32]>()),
        lock in (any::<u128>(), fences()),
        attempt in any::<u32>(),
        prior in prop::option::of(priors()),
        on_unknown in prop::sample::select(vec![OnUnknown::RunAgain, OnUnknown::Reconcile, OnUnknown::Refuse]),
        acquired_at in times(),
        notes in prop::collection::btree_map("[a-zäß ]{1,8}", "[^\\p{Cc}]{0,12}", 0..4),
        trace_parent in prop::option::of("[0-9a-f-]{0,55}"),
        correlation_id in prop::option::of("[^\\p{Cc}]{0,20}"),
        state in states(),
    ) -> Record {
        let mut context = Context::default();
        if let Some(trace_parent) = trace_parent {
            context = context.with_trace_parent(trace_parent).unwrap();
        }
        if let Some(id) = correlation_id {
            context = context.with_correlation_id(id).unwrap();
        }
        let attributes = notes.into_iter().try_fold(Attributes::default(), |all, (name, value)| all.with(name, value));
        Record {
            fingerprint: Fingerprint::from_parts(fingerprint.0, fingerprint.1),
            lock: Lock { owner: Owner::from_u128(lock.0), fence: lock.1 },
            attempt,
            prior,
            on_unknown,
            acquired_at,
            context,
            attributes: attributes.unwrap(),
            state,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_comes_back_as_it_was(record in records()) {
        let bytes = encode(&KEY, &record);
        prop_assert_eq!(decode(&KEY, &bytes).unwrap(), record);
    }

    #[test]
    fn the_bytes_of_another_key_are_damage(record in records(), order in "[a-z]{1,20}") {
        let bytes = encode(&KEY, &record);
        let other = key_of(&order);
        assert!(matches!(decode(&other, &bytes), Err(Damage::Checksum { .. })));
    }

    #[test]
    fn any_flipped_bit_is_damage(record in records()) {
        let good = encode(&KEY, &record);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let damage = decode(&KEY, &bytes).expect_err("a flipped bit was not found");
            let right = match (bit / 8, &damage) {
                (0..4, Damage::Foreign { found }) => *found == good.len(),
                (4, Damage::Version { found }) => *found != 1,
                (5..9, Damage::Length { found, .. }) => *found == good.len(),
                (9.., Damage::Checksum { .. }) => true,
                _ => false,
            };
            prop_assert!(right, "bit {bit}: {damage}");
        }
    }

    #[test]
    fn any_truncation_or_addition_is_damage(record in records(), more in prop::collection::vec(any::<u8>(), 1..20)) {
        let good = encode(&KEY, &record);
        for length in 0..good.len() {
            let damage = decode(&KEY, &good[..length]).expect_err("a cut was not found");
            let right = match (length, &damage) {
                (0..4, Damage::Foreign { found }) | (4.., Damage::Length { found, .. }) => *found == length,
                _ => false,
            };
            prop_assert!(right, "{length} bytes: {damage}");
        }
        let longer = [good.clone(), more].concat();
        assert!(matches!(decode(&KEY, &longer), Err(Damage::Length { found, .. }) if found == longer.len()));
    }

    #[test]
    fn random_bytes_are_damage(mut bytes in prop::collection::vec(any::<u8>(), 0..300), framed in any::<bool>()) {
        if framed && bytes.len() >= 13 {
            let length = u32::try_from(bytes.len() - 13).unwrap();
            bytes[..5].copy_from_slice(b"idem\x01");
            bytes[5..9].copy_from_slice(&length.to_le_bytes());
        }
        prop_assert!(decode(&KEY, &bytes).is_err());
    }

    /// Content that a defective writer framed rightly: an error, never a panic or a huge allocation.
    #[test]
    fn random_content_under_a_right_checksum_never_panics(content in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(damage) = decode(&KEY, &sealed(&KEY, &content)) {
            prop_assert!(matches!(damage, Damage::Content(_) | Damage::Length { .. }), "{damage}");
        }
    }
}

fn sealed(key: &Key, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"idem\x01".to_vec();
    bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    bytes.extend(content);
    let checksum = crc32fast::hash(&[key.as_str().as_bytes(), &bytes].concat());
    bytes.extend(checksum.to_le_bytes());
    bytes
}

fn content_of(record: &Record) -> Vec<u8> {
    let bytes = encode(&KEY, record);
    bytes[9..bytes.len() - 4].to_vec()
}

fn released() -> Record {
    Record {
        fingerprint: Fingerprint::NONE,
        lock: Lock { owner: Owner::from_u128(1), fence: Fence::new(1) },
        attempt: 1,
        prior: None,
        on_unknown: OnUnknown::Refuse,
        acquired_at: Timestamp::from_micros(1),
        context: Context::default(),
        attributes: Attributes::default(),
        state: State::Released { until: Timestamp::from_micros(2) },
    }
}

#[test]
fn a_defective_writers_content_is_said_to_be_so() {
    let good = content_of(&released());
    assert_eq!(decode(&KEY, &sealed(&KEY, &good)).unwrap(), released());
    let left_over = sealed(&KEY, &[&good[..], &[0]].concat());
    let Err(Damage::Length { expected, found }) = decode(&KEY, &left_over) else { panic!("a byte more was not found") };
    assert_eq!((expected, found), (good.len(), good.len() + 1));
    let cut = sealed(&KEY, &good[..good.len() - 1]);
    assert!(matches!(decode(&KEY, &cut), Err(Damage::Content(_))));
    // The policy is the byte after fingerprint (33), owner (1), fence (1), attempt (1) and prior (1).
    let mut policy = good.clone();
    assert_eq!(std::mem::replace(&mut policy[37], 3), 2);
    let damage = decode(&KEY, &sealed(&KEY, &policy)).unwrap_err();
    assert!(matches!(&damage, Damage::Content(source) if source.to_string() == "unknown policy 3"), "{damage:?}");

    let state = State::Completed {
        at: Timestamp::from_micros(1),
        until: Timestamp::from_micros(2),
        result: Completion::Omitted(Omitted::Settled),
    };
    let mut omitted = content_of(&Record { state, ..released() });
    assert_eq!(omitted.pop(), Some(4));
    omitted.push(5);
    let damage = decode(&KEY, &sealed(&KEY, &omitted)).unwrap_err();
    assert!(matches!(&damage, Damage::Content(source) if source.to_string().contains("reason 5")), "{damage:?}");
}

#[test]
fn damage_says_what_is_wrong_and_shows_nothing_of_the_content() {
    let state = State::Completed {
        at: Timestamp::from_micros(1),
        until: Timestamp::from_micros(2),
        result: Completion::Value(b"secret".as_slice().into()),
    };
    let record = Record { state, ..released() };
    let good = encode(&KEY, &record);
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x80;
        decode(&KEY, &bytes).unwrap_err()
    };
    let told = [changed(0), changed(4), changed(5), changed(20)].map(|damage| format!("{damage} {damage:?}"));
    for (told, what) in told.iter().zip(["no record of this library", "format version 129", "should have", "checksum"])
    {
        assert!(told.contains(what) && !told.contains("secret"), "{told}");
    }
    assert!(!format!("{record:?}").contains("secret"));
}
