//! A server that the environment names.

use std::fmt;

use super::ServerError;

/// The URL of a server that is not ours: `scheme://[user[:password]@]host:port[,host:port…][/path][?query]`.
///
/// A `?` in the password, and an `@` in the query, are written `%3F` and `%40`.
#[derive(Clone)]
pub(super) struct Foreign {
    pub(super) variable: &'static str,
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<String>,
    path: String,
    query: String,
}

impl Foreign {
    /// What the variable names, if it is set.
    pub(super) fn named_by(
        variable: &'static str,
        form: &'static str,
        default_port: u16,
    ) -> Result<Option<Self>, ServerError> {
        match std::env::var(variable) {
            Ok(url) if !url.is_empty() => Self::read(variable, &url, form, default_port).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads a URL whose scheme is that of `form`.
    pub(super) fn read(
        variable: &'static str,
        url: &str,
        form: &'static str,
        default_port: u16,
    ) -> Result<Self, ServerError> {
        let parts = || {
            let (scheme, rest) = url.split_once("://")?;
            let same = form.split_once("://").is_some_and(|(wanted, _)| wanted == scheme);
            // Both names of Postgres's scheme, and of Redis over TLS.
            let other = matches!((form.split_once("://")?.0, scheme), ("postgres", "postgresql") | ("redis", "rediss"));
            let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
            // Behind a `?` there may be the rest of a password, and hosts would be the beginning of it.
            if query.contains('@') {
                return None;
            }
            // Else a password may hold anything: the last `@` ends it.
            let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
            let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
            let port = |host: &str| match host.rsplit_once(':') {
                Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
                _ => format!("{host}:{default_port}"),
            };
            let (user, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
                Some((user, password)) => (Some(user), Some(password).filter(|password| !password.is_empty())),
                None => (None, None),
            };
            ((same || other) && !hosts.is_empty()).then(|| Self {
                variable,
                scheme: scheme.to_owned(),
                user: user.map(str::to_owned),
                password: password.map(str::to_owned),
                hosts: hosts.split(',').map(port).collect(),
                path: path.to_owned(),
                query: query.to_owned(),
            })
        };
        parts().ok_or(ServerError::BadUrl { variable, form })
    }

    /// The URL with all that it was given.
    pub(super) fn url(&self) -> String {
        self.at(&self.hosts.join(","), &self.path)
    }

    /// The URL with another address and path.
    pub(super) fn at(&self, hosts: &str, path: &str) -> String {
        self.written(hosts, path, true)
    }

    /// The URL with another path, and without the password.
    pub(super) fn without_password(&self, path: &str) -> String {
        self.written(&self.hosts.join(","), path, false)
    }

    pub(super) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The user's name, as it is meant.
    pub(super) fn user(&self) -> Option<String> {
        self.user.as_deref().filter(|user| !user.is_empty()).map(decoded)
    }

    /// The password, as it is meant.
    pub(super) fn password(&self) -> Option<String> {
        self.password.as_deref().map(decoded)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.scheme == "rediss"
    }

    /// The error for what is not done to it.
    pub(super) const fn refuses(&self, action: &'static str) -> ServerError {
        ServerError::Foreign { variable: self.variable, action }
    }

    fn written(&self, hosts: &str, path: &str, with_password: bool) -> String {
        let mut url = format!("{}://", self.scheme);
        if let Some(user) = &self.user {
            url.push_str(user);
            if let Some(password) = self.password.as_ref().filter(|_| with_password) {
                url.push_str(&format!(":{password}"));
            }
            url.push('@');
        }
        url.push_str(hosts);
        if !path.is_empty() {
            url.push_str(&format!("/{path}"));
        }
        if !self.query.is_empty() {
            url.push_str(&format!("?{}", self.query));
        }
        url
    }
}

/// The query may hold a password, too.
impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").field("variable", &self.variable).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Resolves `%2F` and the like.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let hex = others.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        let (byte, length) = hex.filter(|_| *first == b'%').map_or((*first, 1), |byte| (byte, 3));
        bytes.push(byte);
        rest = &rest[length..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Foreign;

    const FORM: &str = "redis://host:port";

    fn read(url: &str) -> Foreign {
        Foreign::read("SOME_URL", url, FORM, 6379).unwrap()
    }

    #[test]
    fn a_url_is_kept_whole_and_its_parts_are_known() {
        let whole = "redis://me:p%40ss@one:1,two/3?protocol=resp3";
        let foreign = read(whole);
        assert_eq!(foreign.hosts(), ["one:1", "two:6379"]);
        assert_eq!((foreign.user().as_deref(), foreign.password().as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(foreign.url(), "redis://me:p%40ss@one:1,two:6379/3?protocol=resp3");
        assert_eq!(foreign.at("127.0.0.1:9", "4"), "redis://me:p%40ss@127.0.0.1:9/4?protocol=resp3");
        assert_eq!(read("redis://one:1").url(), "redis://one:1");
    }

    #[test]
    fn a_password_shows_nowhere_but_in_the_url() {
        let foreign = read("redis://me:secret@one:1?password=secret");
        assert!(!format!("{foreign:?} {}", foreign.refuses("killed")).contains("secret"));
        assert!(!read("redis://me:secret@one:1").without_password("").contains("secret"));
        let bad = Foreign::read("SOME_URL", "http://me:secret@one:1", FORM, 6379).unwrap_err();
        let said = format!("{bad} {bad:?}");
        assert!(said.contains("SOME_URL") && said.contains(FORM) && !said.contains("secret"), "{said}");
    }
    #[test]
    fn a_password_that_looks_like_hosts_and_a_query_is_refused_and_not_shown() {
        for url in ["redis://me:123?456@one:1", "redis://me:123@456?789@one:1"] {
            let outcome = Foreign::read("SOME_URL", url, FORM, 6379);
            let said = format!("{outcome:?}");
            assert!(outcome.is_err() && ["123", "456", "789"].iter().all(|part| !said.contains(part)), "{said}");
        }
        assert_eq!(read("redis://me:1%3F2@one:1?a=b%40c").password().as_deref(), Some("1?2"));
    }
}
