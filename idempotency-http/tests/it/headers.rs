//! Headers by chance: never a panic, and one key in every spelling.

use axum::http::HeaderValue;
use idempotency_http::header::{HeaderError, HeaderKey, LONGEST_KEY, Reading};
use idempotency_testkit::proptest::prelude::*;

fn read(lines: &[&[u8]], reading: Reading) -> Result<Option<HeaderKey>, HeaderError> {
    let lines: Vec<HeaderValue> = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    HeaderKey::read(&lines, reading)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_a_key_or_a_reason(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4)) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let strict = read(&lines, Reading::Strict);
        let lenient = read(&lines, Reading::Lenient);
        for key in [&strict, &lenient].into_iter().flatten().flatten() {
            prop_assert!((1..=LONGEST_KEY).contains(&key.as_str().len()));
            prop_assert!(key.as_str().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        // Whoever is read strictly is read the same leniently.
        if let Ok(Some(key)) = strict {
            prop_assert_eq!(lenient, Ok(Some(key)));
        }
    }

    #[test]
    fn almost_headers_give_a_key_or_a_reason(line in "[\"\\\\,; =()a-c:?%@*\\x20\\x09-]{0,40}") {
        let _ = read(&[line.as_bytes()], Reading::Strict);
        let _ = read(&[line.as_bytes(), line.as_bytes()], Reading::Lenient);
    }

    #[test]
    fn what_is_written_is_read(key in "[ -~]{1,255}") {
        let key = HeaderKey::new(key).unwrap();
        let value = key.to_value();
        for reading in [Reading::Strict, Reading::Lenient] {
            prop_assert_eq!(HeaderKey::read([&value], reading), Ok(Some(key.clone())));
        }
    }

    #[test]
    fn bare_and_quoted_are_one_key(key in "[!#-+\\--\\[\\]-~]{1,255}") {
        let quoted = format!("\"{key}\"");
        let both = read(&[key.as_bytes(), quoted.as_bytes()], Reading::Lenient);
        prop_assert_eq!(both, Ok(Some(HeaderKey::new(key).unwrap())));
    }

    #[test]
    fn two_keys_that_differ_are_never_one(a in "[a-c]{1,3}", b in "[a-c]{1,3}") {
        let both = read(&[a.as_bytes(), b.as_bytes()], Reading::Lenient);
        prop_assert_eq!(both == Err(HeaderError::Several), a != b);
    }
}

#[test]
fn a_key_does_not_show_in_debug() {
    let key = HeaderKey::new("sk_live_secret").unwrap();
    assert_eq!(format!("{key:?}"), "HeaderKey(14 bytes)");
}

#[test]
fn what_cannot_be_sent_is_refused() {
    assert_eq!(HeaderKey::new(""), Err(HeaderError::Empty));
    assert_eq!(HeaderKey::new("a".repeat(256)), Err(HeaderError::TooLong { bytes: 256 }));
    for bad in ["é", "a\n", "\u{7f}"] {
        assert_eq!(HeaderKey::new(bad), Err(HeaderError::BadCharacter));
    }
}
