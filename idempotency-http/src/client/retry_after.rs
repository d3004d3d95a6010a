//! The `Retry-After` header (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// How long to wait; `None` where it is not said, or not as HTTP has it.
///
/// A date is counted from the answer's own `Date`, so that the two machines' clocks may differ.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is for ever.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let date = headers.get(header::DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Some(then.duration_since(date.unwrap_or(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn of(value: &str, date: Option<&str>, now: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        if let Some(date) = date {
            headers.insert(header::DATE, date.parse().unwrap());
        }
        retry_after(&headers, httpdate::parse_http_date(now).unwrap()).map(|after| after.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_read() {
        let before = "Sun, 06 Nov 1994 08:49:30 GMT";
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            (THEN, Some(7)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(7)),
            ("Sun Nov  6 08:49:37 1994", Some(7)),
            ("Sun, 06 Nov 1994 08:49:29 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("+5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(of(value, None, before), expected, "{value:?}");
        }
    }

    #[test]
    fn a_date_is_counted_from_the_servers_clock() {
        let far = "Sun, 06 Nov 2044 08:49:37 GMT";
        assert_eq!(of(THEN, Some("Sun, 06 Nov 1994 08:49:34 GMT"), far), Some(3));
        assert_eq!(of(THEN, Some("nonsense"), far), Some(0));
    }
}
