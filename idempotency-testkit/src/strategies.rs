//! proptest strategies for what a service that uses keys is tried with.
//!
//! ```
//! use idempotency_core::Key;
//! use idempotency_testkit::strategies;
//! use proptest::prelude::*;
//!
//! proptest!(|(key in strategies::keys())| {
//!     let read = Key::parse(key.as_str()).unwrap();
//!     prop_assert_eq!(read.as_str(), key.as_str());
//! });
//! ```

use bytes::Bytes;
use idempotency_core::{Fingerprint, Key, LONGEST_PART, MOST_ID_PARTS};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub use crate::schedule::Wishes;

/// Parts of keys: short words, and what is easily joined, cut or folded wrongly: the marks between parts,
/// the escape, spaces, letters that differ in case alone, texts that look the same, the longest there is.
pub fn key_parts() -> impl Strategy<Value = String> {
    let marks = prop::sample::select(vec![
        "/", "%", "%2F", ":", "|", " ", ".", "..", "a/b", "a%2Fb", "A", "a", "é", "e\u{301}", "\u{200b}", "💶", "null",
        "0",
    ]);
    let longest =
        prop_oneof![Just("x".repeat(LONGEST_PART)), Just("/".repeat(LONGEST_PART)), Just("é".repeat(LONGEST_PART / 2))];
    prop_oneof![4 => "[a-z]{1,8}", 4 => marks.prop_map(str::to_owned), 1 => longest, 1 => "\\PC{1,20}"]
}

/// Keys with and without a scope, of one to the most parts, each for a request or none.
pub fn keys() -> impl Strategy<Value = Key> {
    let id = vec(key_parts(), 1..=MOST_ID_PARTS);
    let built = (option::of(key_parts()), key_parts(), id, option::of(any::<u64>()));
    built.prop_filter_map("the parts make a key", |(scope, operation, id, request)| {
        let mut parts = id.iter();
        let mut key = Key::new(operation, parts.next()?);
        for part in parts {
            key = key.part(part);
        }
        if let Some(scope) = scope {
            key = key.scope(scope);
        }
        let key = key.build().ok()?;
        let fingerprint = request.map_or(Fingerprint::NONE, |request| Fingerprint::of_bytes(&request.to_le_bytes()));
        Some(key.with_fingerprint(fingerprint))
    })
}

/// Payloads of up to `longest` bytes: none at all, a few, and those about the sizes at which stores begin
/// to keep them in another way.
pub fn payloads(longest: usize) -> impl Strategy<Value = Bytes> {
    let edges: Vec<usize> = [0, 1, 255, 256, 4096, 8192, 65_535, 65_536, 131_072, 1 << 20]
        .into_iter()
        .flat_map(|edge: usize| [edge.saturating_sub(1), edge, edge + 1])
        .chain([longest])
        .filter(|size| *size <= longest)
        .collect();
    let sized = (prop::sample::select(edges), any::<u8>()).prop_map(|(size, first)| {
        let byte = |at: usize| first.wrapping_add(u8::try_from(at % 251).unwrap_or(0));
        (0..size).map(byte).collect::<Vec<_>>()
    });
    prop_oneof![3 => vec(any::<u8>(), 0..=longest.min(64)), 1 => sized].prop_map(Bytes::from)
}

/// What a random schedule wishes for, to be tried by [`Property::run`](crate::schedule::Property::run).
pub fn schedules() -> impl Strategy<Value = Wishes> {
    Wishes::any()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn keys_are_read_back(key in keys()) {
            let read = Key::parse(key.as_str()).unwrap();
            prop_assert_eq!(read.id_parts().collect::<Vec<_>>(), key.id_parts().collect::<Vec<_>>());
            prop_assert_eq!((read.scope(), read.operation()), (key.scope(), key.operation()));
        }

        #[test]
        fn payloads_are_no_longer_than_asked_for(payload in payloads(300)) {
            prop_assert!(payload.len() <= 300);
        }
    }
}
