//! A store from a URL.

use std::fmt;
use std::sync::Arc;

use idempotency_core::{StoreError, Upkeep};

/// A store of any kind, shared.
pub type Store = Arc<dyn Upkeep>;

/// The schemes that there are, and the feature that each needs.
const SCHEMES: [(&str, &str); 10] = [
    ("memory", "memory"),
    ("sled", "sled"),
    ("redis", "redis"),
    ("redis-sentinel", "redis"),
    ("redis-cluster", "redis"),
    ("postgres", "postgres"),
    ("postgresql", "postgres"),
    ("rediss", "redis-tls"),
    ("rediss-sentinel", "redis-tls"),
    ("rediss-cluster", "redis-tls"),
];

/// Opens the store that a URL names.
///
/// | URL | Store |
/// |---|---|
/// | `memory:` | in this process's memory; `?capacity=100000` keys at the most |
/// | `sled:./folder` | a sled database in a folder, which is created if its parent exists; `?durability=process` survives the kill of the process only, not a power cut |
/// | `redis://user:password@host:6379/0` | a Redis or Valkey server |
/// | `redis-sentinel://host:26379,host:26379/mymaster` | the master that these sentinels name |
/// | `redis-cluster://host:6379,host:6379` | a cluster, some of whose servers these are |
/// | `rediss://`, `rediss-sentinel://`, `rediss-cluster://` | the same, encrypted |
/// | `postgres://user:password@host:5432/database` | a table in a Postgres database, which is made where it is missing |
///
/// Those of Redis take the options of `RedisStoreConfig::from_url`, such as `?prefix=shop:` or
/// `?replicas=1`, that of Postgres those of `PostgresStoreConfig::from_url`.
///
/// # Errors
/// [`ConnectError`]. It shows the URL's scheme and options, never more of it: there may be a password.
pub async fn connect(url: &str) -> Result<Store, ConnectError> {
    let (scheme, rest) = url.split_once(':').ok_or(ConnectError::NoScheme)?;
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let options: Vec<(&str, &str)> = options
        .split('&')
        .filter(|option| !option.is_empty())
        .map(|option| option.split_once('=').unwrap_or((option, "")))
        .collect();
    match scheme {
        #[cfg(feature = "memory")]
        "memory" => open_memory(place, &options),
        #[cfg(feature = "sled")]
        "sled" => open_sled(place, &options).await,
        #[cfg(feature = "redis")]
        "redis" | "redis-sentinel" | "redis-cluster" => open_redis(url).await,
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => open_postgres(url).await,
        #[cfg(feature = "redis-tls")]
        "rediss" | "rediss-sentinel" | "rediss-cluster" => open_redis(url).await,
        other => {
            // Without any store's feature, nothing else reads them.
            let _ = (place, options);
            Err(match SCHEMES.iter().find(|(scheme, _)| *scheme == other) {
                Some((scheme, feature)) => ConnectError::FeatureOff { scheme, feature },
                None => ConnectError::UnknownScheme { scheme: other.into() },
            })
        }
    }
}

#[cfg(feature = "memory")]
fn open_memory(place: &str, options: &[(&str, &str)]) -> Result<Store, ConnectError> {
    if !place.is_empty() {
        return Err(ConnectError::Place { scheme: "memory", expected: "nothing after `memory:`" });
    }
    let mut store = idempotency_store_memory::MemoryStore::new();
    for (name, value) in options {
        store = match *name {
            "capacity" => store.with_capacity(value.parse().map_err(|_| ConnectError::BadOption {
                scheme: "memory",
                name: "capacity",
                expected: "a number of keys",
            })?),
            other => return Err(unknown_option("memory", other, "capacity")),
        };
    }
    Ok(Arc::new(store))
}

#[cfg(feature = "sled")]
async fn open_sled(place: &str, options: &[(&str, &str)]) -> Result<Store, ConnectError> {
    use idempotency_store_sled::{Durability, SledStore, SledStoreConfig};

    // `sled:///var/lib/x` and `sled:/var/lib/x` are one folder.
    let folder = place.strip_prefix("//").unwrap_or(place);
    if folder.is_empty() {
        return Err(ConnectError::Place { scheme: "sled", expected: "a folder, as in `sled:./payments`" });
    }
    let mut config = SledStoreConfig::new(folder);
    for (name, value) in options {
        config = match (*name, *value) {
            ("durability", "power") => config.with_durability(Durability::Power),
            ("durability", "process") => config.with_durability(Durability::Process),
            ("durability", _) => {
                return Err(ConnectError::BadOption {
                    scheme: "sled",
                    name: "durability",
                    expected: "`power` or `process`",
                });
            }
            (other, _) => return Err(unknown_option("sled", other, "durability")),
        };
    }
    Ok(Arc::new(SledStore::open(config).await?))
}

#[cfg(feature = "redis")]
async fn open_redis(url: &str) -> Result<Store, ConnectError> {
    use idempotency_store_redis::{RedisStore, RedisStoreConfig};

    Ok(Arc::new(RedisStore::open(RedisStoreConfig::from_url(url)?).await?))
}

#[cfg(feature = "postgres")]
async fn open_postgres(url: &str) -> Result<Store, ConnectError> {
    use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig};

    Ok(Arc::new(PostgresStore::open(PostgresStoreConfig::from_url(url)?).await?))
}

#[cfg(any(feature = "memory", feature = "sled"))]
fn unknown_option(scheme: &'static str, name: &str, known: &'static str) -> ConnectError {
    ConnectError::UnknownOption { scheme, name: name.into(), known }
}

/// A URL that names no store that can be opened.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no scheme.
    #[error(
        "the store's URL has no scheme; write `memory:`, `sled:./folder`, `redis://host` or `postgres://host/database`"
    )]
    NoScheme,
    /// There is no such scheme.
    #[error("there is no store `{scheme}:`; there are {}", known())]
    UnknownScheme {
        /// The scheme given.
        scheme: String,
    },
    /// The store was left out when the program was built.
    #[error("the store `{scheme}:` is not built in: turn on the feature `{feature}` of the crate `idempotency`")]
    FeatureOff {
        /// The scheme given.
        scheme: &'static str,
        /// The feature to turn on.
        feature: &'static str,
    },
    /// What follows the scheme names no place.
    #[error("the URL of a store `{scheme}:` takes {expected}")]
    Place {
        /// The scheme given.
        scheme: &'static str,
        /// What should follow it.
        expected: &'static str,
    },
    /// The store has no such option.
    #[error("a store `{scheme}:` has no option `{name}`; it has `{known}`")]
    UnknownOption {
        /// The scheme given.
        scheme: &'static str,
        /// The option given.
        name: String,
        /// The options there are.
        known: &'static str,
    },
    /// An option's value is none.
    #[error("the option `{name}` of a store `{scheme}:` is {expected}")]
    BadOption {
        /// The scheme given.
        scheme: &'static str,
        /// The option.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// For whoever reads it where a program's `main` returns it: as `Display`, and then why.
impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "{error:?}"),
            other => write!(f, "{other}"),
        }
    }
}

fn known() -> String {
    let [others @ .., last] = SCHEMES.map(|(scheme, _)| format!("`{scheme}:`"));
    format!("{} and {last}", others.join(", "))
}
