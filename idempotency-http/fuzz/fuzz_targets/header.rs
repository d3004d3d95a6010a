//! Any lines of a header give a key or a reason, and a key that is written is read.

#![no_main]

use http::HeaderValue;
use idempotency_http::header::{HeaderKey, LONGEST_KEY, Reading};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let lines: Vec<HeaderValue> =
        data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let strict = HeaderKey::read(&lines, Reading::Strict);
    let lenient = HeaderKey::read(&lines, Reading::Lenient);
    if let Ok(Some(key)) = &strict {
        assert_eq!(lenient.as_ref().ok().and_then(Option::as_ref), Some(key), "whoever is read strictly is read leniently");
    }
    if let Ok(Some(key)) = lenient {
        assert!((1..=LONGEST_KEY).contains(&key.as_str().len()));
        assert_eq!(HeaderKey::read([&key.to_value()], Reading::Strict), Ok(Some(key)));
    }
});
