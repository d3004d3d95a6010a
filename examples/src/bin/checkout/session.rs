//! Whose request it is: a browser's session, by a cookie that it was given with the page.

use axum::http::{HeaderMap, header};

const COOKIE: &str = "session=";
const DIGITS: usize = 32;

/// The session that a request belongs to, if it has one that could be ours.
pub(crate) fn of(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE))
        .find(|id| id.len() == DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        .map(str::to_owned)
}

/// The `Set-Cookie` of a new one, which nobody can guess. Behind TLS it would say `Secure`, too.
pub(crate) fn begin() -> String {
    format!("{COOKIE}{:0DIGITS$x}; Path=/; HttpOnly; SameSite=Strict", rand::random::<u128>())
}
