//! What serde says of a value, without the value.

/// A message of serde's without what it shows of the data: a stored result must not reach a log.
///
/// Kept are the names that a type itself brings along: `missing field`, and what was expected.
pub(super) fn redacted(message: &str) -> String {
    const SHOWS_DATA: [&str; 4] = ["invalid type: ", "invalid value: ", "unknown variant ", "unknown field "];
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return format!("missing field `{field}`");
    }
    let begins = SHOWS_DATA.iter().any(|shown| message.starts_with(shown));
    match message.rfind(", expected ") {
        Some(at) if begins => {
            let kind = message[..at].split(['`', '"']).next().unwrap_or_default().trim_end();
            format!("{kind}{}", &message[at..])
        }
        _ => "the type itself refuses it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn what_was_found_is_left_out_and_what_was_expected_kept() {
        for (message, kept) in [
            (r#"invalid type: string "4111-1111", expected u64"#, "invalid type: string, expected u64"),
            (r#"invalid type: string "a, expected b", expected u64"#, "invalid type: string, expected u64"),
            ("invalid value: integer `4111`, expected u8", "invalid value: integer, expected u8"),
            ("unknown variant `4111`, expected `Paid` or `Declined`", "unknown variant, expected `Paid` or `Declined`"),
            ("missing field `fee` at line 1", "missing field `fee`"),
            ("card 4111 is expired", "the type itself refuses it"),
            ("card 4111 is expired, expected 5222", "the type itself refuses it"),
        ] {
            assert_eq!(redacted(message), kept);
        }
    }
}
