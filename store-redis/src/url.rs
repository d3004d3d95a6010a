//! The store's URLs.

use std::time::Duration;

use idempotency_core::StoreError;
use redis::ConnectionAddr;

use crate::config::{Eviction, RedisStoreConfig, Start, misconfigured, server};
use crate::link::{Place, Sentinels};

const SENTINEL_PORT: u16 = 26379;
const SERVER_PORT: u16 = 6379;
const OPTIONS: &str =
    "`prefix`, `limit`, `start`, `eviction`, `replicas`, `replicas_within`, `sentinel_user` and `sentinel_password`";

/// What a URL says, taken apart.
struct Parts<'a> {
    /// `redis` or `rediss`.
    scheme: &'static str,
    /// `user:password@`, or nothing.
    login: &'a str,
    hosts: Vec<&'a str>,
    path: Vec<&'a str>,
}

pub(crate) fn parse(url: &str) -> Result<RedisStoreConfig, StoreError> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| misconfigured("the URL has no `://`; write `redis://host`"))?;
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let options_have_at = options.contains('@');
    let options = options.split('&').filter(|option| !option.is_empty());
    let options: Vec<(&str, &str)> = options.map(|option| option.split_once('=').unwrap_or((option, ""))).collect();
    let (kind, encrypted) = match scheme {
        "redis" => ("server", false),
        "rediss" => ("server", true),
        "redis-sentinel" => ("sentinel", false),
        "rediss-sentinel" => ("sentinel", true),
        "redis-cluster" => ("cluster", false),
        "rediss-cluster" => ("cluster", true),
        _ => return Err(misconfigured(format!("`{scheme}://` names no kind of Redis"))),
    };
    if encrypted && !cfg!(feature = "tls") {
        return Err(misconfigured(format!("`{scheme}://` needs the feature `tls`, which is not built in")));
    }
    // What ends the part of a URL that it is in would have the rest of a password taken for something else.
    if options_have_at {
        return Err(misconfigured("a `?` in user or password is written `%3F`, and no option has an `@`"));
    }
    if rest.contains('#') {
        return Err(misconfigured("a `#` in user or password is written `%23`"));
    }
    let (login, places) = rest.rsplit_once('@').map_or(("", rest), |(login, places)| (&rest[..=login.len()], places));
    if login.contains('/') {
        return Err(misconfigured("a `/` in user or password is written `%2F`"));
    }
    let mut path = places.split('/');
    let hosts: Vec<&str> = path.next().unwrap_or_default().split(',').filter(|host| !host.is_empty()).collect();
    let parts = Parts {
        scheme: if encrypted { "rediss" } else { "redis" },
        login,
        hosts,
        path: path.filter(|part| !part.is_empty()).collect(),
    };
    if parts.hosts.is_empty() {
        return Err(misconfigured(format!("the URL names no host; write `{scheme}://host:port`")));
    }
    let config = RedisStoreConfig::at(match kind {
        "server" => one(&parts)?,
        "sentinel" => sentinel(&parts, &options)?,
        _ => cluster(&parts)?,
    });
    let has_password = options.iter().any(|(name, _)| *name == "sentinel_password");
    let mut others = options.into_iter().filter(|(name, _)| !name.starts_with("sentinel_"));
    others.try_fold(config, |config, option| set(config, option, has_password))
}

impl Parts<'_> {
    fn url(&self, login: &str, host: &str, port: u16, database: &str) -> String {
        // An IPv6 address stands in brackets.
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        format!("{}://{login}{host}/{database}", self.scheme)
    }
}

fn one(parts: &Parts<'_>) -> Result<Place, StoreError> {
    match (&parts.hosts[..], &parts.path[..]) {
        ([host], []) => Ok(Place::Server(server(&parts.url(parts.login, host, SERVER_PORT, ""))?)),
        ([host], [database]) => Ok(Place::Server(server(&parts.url(parts.login, host, SERVER_PORT, database))?)),
        ([_], _) => Err(misconfigured("the URL of a server has at most a database after its host")),
        _ => Err(misconfigured(
            "several hosts are a cluster's, `redis-cluster://…`, or Sentinel's, `redis-sentinel://…`",
        )),
    }
}

fn sentinel(parts: &Parts<'_>, options: &[(&str, &str)]) -> Result<Place, StoreError> {
    let (name, database) = match &parts.path[..] {
        [name] => (*name, ""),
        [name, database] => (*name, *database),
        _ => {
            return Err(misconfigured(
                "the URL does not name the master; write `redis-sentinel://host:26379/mymaster`",
            ));
        }
    };
    let option = |wanted| options.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let login = match (option("sentinel_user"), option("sentinel_password")) {
        (None, None) => String::new(),
        (user, password) => format!("{}:{}@", user.unwrap_or_default(), password.unwrap_or_default()),
    };
    let sentinels = parts.hosts.iter().map(|host| {
        let reached = server(&parts.url(&login, host, SENTINEL_PORT, ""))?;
        redis::Client::open(reached)
            .map_err(|error| misconfigured("a sentinel cannot be reached so").with_source(error))
    });
    Ok(Place::Sentinel(Sentinels {
        sentinels: sentinels.collect::<Result<_, _>>()?,
        name: name.into(),
        master: server(&parts.url(parts.login, parts.hosts[0], SERVER_PORT, database))?,
    }))
}

fn cluster(parts: &Parts<'_>) -> Result<Place, StoreError> {
    if !parts.path.is_empty() {
        return Err(misconfigured("a cluster has one database only: nothing follows its hosts"));
    }
    let servers = parts.hosts.iter().map(|host| server(&parts.url(parts.login, host, SERVER_PORT, "")));
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    let seeds = servers.iter().filter_map(|server| match server.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
        _ => None,
    });
    let seeds = seeds.collect();
    let like = servers.into_iter().next().ok_or_else(|| misconfigured("the URL names no host"))?;
    Ok(Place::Cluster(like, seeds))
}

fn set(
    config: RedisStoreConfig,
    (name, value): (&str, &str),
    has_password: bool,
) -> Result<RedisStoreConfig, StoreError> {
    let bad = |expected: &str| misconfigured(format!("the option `{name}` is {expected}"));
    let duration =
        || duration(value).ok_or_else(|| bad("a whole number of milliseconds or seconds, such as `500ms` or `2s`"));
    Ok(match name {
        "prefix" => config.with_prefix(value),
        "limit" => config.with_limit(duration()?),
        "start" => config.with_start(Start::Wait(duration()?)),
        "eviction" => match value {
            "refuse" => config.with_eviction(Eviction::Refuse),
            "warn" => config.with_eviction(Eviction::Warn),
            _ => return Err(bad("`refuse` or `warn`")),
        },
        "replicas" => {
            let within = config.replicas.map_or(Duration::from_secs(1), |replicas| replicas.within);
            config.with_replicas(value.parse().map_err(|_| bad("a number of replicas"))?, within)
        }
        "replicas_within" => {
            let by = config.replicas.map_or(1, |replicas| replicas.by);
            config.with_replicas(by, duration()?)
        }
        // It may be the rest of a password.
        _ if has_password => {
            return Err(misconfigured(format!(
                "an option has no name that is known; there are {OPTIONS}, and an `&` in a password is written `%26`"
            )));
        }
        other => return Err(misconfigured(format!("there is no option `{other}`; there are {OPTIONS}"))),
    })
}

/// A number of milliseconds or seconds.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => return None,
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(unit)?)).filter(|duration| !duration.is_zero())
}
