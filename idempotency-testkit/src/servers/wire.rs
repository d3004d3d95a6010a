//! URLs of servers, which may hold a password.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use super::error::{ServerError, Tried};

/// A URL from the environment. What stands before its host is never shown.
#[derive(Clone)]
pub(super) struct Url {
    text: String,
    address: SocketAddr,
}

impl Url {
    /// The URL that a variable names, if it does.
    pub(super) fn from_environment(variable: &'static str) -> Result<Option<Self>, ServerError> {
        match std::env::var(variable) {
            Ok(text) if !text.is_empty() => Self::new(variable, text).map(Some),
            _ => Ok(None),
        }
    }

    fn new(variable: &'static str, text: String) -> Result<Self, ServerError> {
        let shown = format!("the server named in {variable}, {}", without_password(&text));
        let hosts = hosts(&text).tried(|| shown.clone())?;
        let first = hosts.split(',').next().unwrap_or_default();
        let port = if text.starts_with("postgres") { 5432 } else { 6379 };
        let with_port = if first.contains(':') { first.to_owned() } else { format!("{first}:{port}") };
        let mut found = with_port.to_socket_addrs().tried(|| shown.clone())?;
        let address = found.next().ok_or_else(|| std::io::Error::other("its host has no address")).tried(|| shown)?;
        Ok(Self { text, address })
    }

    /// The URL of a server of one's own.
    pub(super) const fn own(text: String, address: SocketAddr) -> Self {
        Self { text, address }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The hosts and ports of a URL.
fn hosts(text: &str) -> std::io::Result<&str> {
    let (_, rest) = text.split_once("://").ok_or_else(|| std::io::Error::other("it is no URL: there is no `://`"))?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    Ok(authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts))
}

fn without_password(text: &str) -> String {
    match (text.split_once("://"), hosts(text)) {
        (Some((scheme, _)), Ok(hosts)) => format!("{scheme}://{hosts}"),
        _ => "which is not shown".into(),
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url = Url::new("SOME_URL", "redis://user:secret@127.0.0.1:7000/0?a=b".into()).unwrap();
        assert_eq!(
            (format!("{url:?}"), url.address()),
            ("redis://127.0.0.1:7000".into(), ([127, 0, 0, 1], 7000).into())
        );
        assert_eq!(url.as_str(), "redis://user:secret@127.0.0.1:7000/0?a=b");
        let postgres = Url::new("SOME_URL", "postgres://u:secret@127.0.0.1/db".into()).unwrap();
        assert_eq!(postgres.address().port(), 5432);
        for wrong in ["secret", "redis://secret:secret@no.such.host.invalid:1/"] {
            let error = Url::new("SOME_URL", wrong.into()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
            assert!(error.to_string().contains("SOME_URL"), "{error}");
        }
    }
}
