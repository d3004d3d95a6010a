//! How to open the store.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use idempotency_core::StoreError;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::error::misconfigured;

/// How long one call may take, unless told otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(4);
/// How many connections the store's own pool has at the most, unless told otherwise.
pub const DEFAULT_CONNECTIONS: u32 = 10;

/// The options of a URL that are this store's.
const OPTIONS: [&str; 6] = ["schema", "table", "limit", "connections", "migrate", "pooler"];
/// Those that the driver knows (sqlx 0.9, `postgres/src/options/parse.rs`).
const DRIVERS_OPTIONS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// What the schema and the table are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    schema: String,
    table: String,
}

impl Names {
    /// Names of one's own: each of 1 to 40 letters, digits and underscores, in lower case.
    ///
    /// # Errors
    /// [`StoreError`] of kind [`Misconfigured`](idempotency_core::StoreErrorKind::Misconfigured) where one
    /// is not.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Result<Self, StoreError> {
        let names = Self { schema: schema.into(), table: table.into() };
        for (what, name) in [("schema", &names.schema), ("table", &names.table)] {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if name.is_empty() || name.len() > 40 || !name.chars().all(is_plain) || name.as_bytes()[0].is_ascii_digit()
            {
                return Err(misconfigured(format!(
                    "the {what} `{name}` is not 1 to 40 small letters, digits and underscores"
                )));
            }
        }
        Ok(names)
    }

    /// The schema's name.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }
}

impl Default for Names {
    /// `idempotency.records`.
    fn default() -> Self {
        Self { schema: "idempotency".into(), table: "records".into() }
    }
}

/// Where the records are, and how to reach them. A password in it is shown by nothing.
#[derive(Clone)]
#[must_use = "a configuration does nothing until a store is opened with it"]
pub struct PostgresStoreConfig {
    pub(crate) place: Place,
    pub(crate) names: Names,
    pub(crate) limit: Duration,
    pub(crate) connections: u32,
    pub(crate) makes_tables: bool,
    pub(crate) behind_pooler: bool,
}

#[derive(Clone)]
pub(crate) enum Place {
    Server(Box<PgConnectOptions>),
    Pool(PgPool),
}

impl PostgresStoreConfig {
    /// From a URL, `postgres://user:password@host:5432/database`, with a pool of the store's own. What the
    /// driver takes as parameters it takes here too (`sslmode`, `application_name`, …); besides:
    ///
    /// | Option | Meaning |
    /// |---|---|
    /// | `schema=idempotency`, `table=records` | [`with_names`](Self::with_names) |
    /// | `limit=4s` | [`with_limit`](Self::with_limit) |
    /// | `connections=10` | [`with_connections`](Self::with_connections) |
    /// | `migrate=no` | [`without_migrations`](Self::without_migrations) |
    /// | `pooler=transaction` | [`behind_transaction_pooler`](Self::behind_transaction_pooler) |
    ///
    /// # Errors
    /// [`StoreError`] of kind [`Misconfigured`](idempotency_core::StoreErrorKind::Misconfigured) where the
    /// URL is none. It shows no part of the URL but the names of its options.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let (place, options) = url.split_once('?').unwrap_or((url, ""));
        // The driver would take its defaults: its user's name, and this machine.
        if !["postgres://", "postgresql://"].iter().any(|scheme| place.starts_with(scheme)) {
            return Err(misconfigured("the URL does not begin with `postgres://`"));
        }
        let (mut ours, mut drivers) = (Vec::new(), Vec::new());
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                _ if OPTIONS.contains(&name) => ours.push((name, value)),
                _ if DRIVERS_OPTIONS.contains(&name) || name.starts_with("options[") => drivers.push(option),
                // The driver would pass over it, and what was meant would not hold.
                _ => return Err(no_such_option(name)),
            }
        }
        let url = if drivers.is_empty() { place.to_owned() } else { format!("{place}?{}", drivers.join("&")) };
        let server = PgConnectOptions::from_str(&url)
            .map_err(|error| misconfigured("the URL is not that of a Postgres server").with_source(error))?;
        ours.into_iter().try_fold(Self::at(Place::Server(Box::new(server))), Self::set)
    }

    /// A pool that the caller has. Its connections are used as they are set up, with their own time limits;
    /// [`with_limit`](Self::with_limit) holds besides.
    pub fn from_pool(pool: PgPool) -> Self {
        Self::at(Place::Pool(pool))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            names: Names::default(),
            limit: DEFAULT_LIMIT,
            connections: DEFAULT_CONNECTIONS,
            makes_tables: true,
            behind_pooler: false,
        }
    }

    fn set(self, (name, value): (&str, &str)) -> Result<Self, StoreError> {
        let bad = |expected: &str| misconfigured(format!("the option `{name}` is {expected}"));
        Ok(match name {
            "schema" => Self { names: Names::new(value, self.names.table.clone())?, ..self },
            "table" => Self { names: Names::new(self.names.schema.clone(), value)?, ..self },
            "limit" => {
                let limit = duration(value).ok_or_else(|| bad("a time such as `500ms` or `2s`"))?;
                self.with_limit(limit)
            }
            "connections" => {
                let count = value.parse().ok().filter(|count| *count > 0);
                self.with_connections(count.ok_or_else(|| bad("a number of connections"))?)
            }
            "migrate" => match value {
                "yes" => self,
                "no" => self.without_migrations(),
                _ => return Err(bad("`yes` or `no`")),
            },
            _ => match value {
                "transaction" => self.behind_transaction_pooler(),
                _ => return Err(bad("`transaction`")),
            },
        })
    }

    /// Sets the names of schema and table; `idempotency.records` by default.
    pub fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// Sets how long one call may take, waiting for a connection included; [`DEFAULT_LIMIT`] by default. A
    /// call that is over it fails as *in doubt*.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Sets how many connections the store's own pool has at the most; [`DEFAULT_CONNECTIONS`] by default.
    /// Transactions have as many besides, in a pool of theirs, once one is run.
    pub fn with_connections(self, connections: u32) -> Self {
        Self { connections: connections.max(1), ..self }
    }

    /// Makes no tables: they are there, made by what [`migrations`](crate::migrations) prints.
    pub fn without_migrations(self) -> Self {
        Self { makes_tables: false, ..self }
    }

    /// Uses nothing that outlives a transaction: no prepared statements, no `LISTEN`. For a pooler such as
    /// pgbouncer in transaction mode. Waiters poll then.
    pub fn behind_transaction_pooler(self) -> Self {
        Self { behind_pooler: true, ..self }
    }
}

fn no_such_option(name: &str) -> StoreError {
    let (ours, drivers) = (OPTIONS.join("`, `"), DRIVERS_OPTIONS.join("`, `"));
    misconfigured(format!("a Postgres URL has no option `{name}`; it has `{ours}`, and the driver's `{drivers}`"))
}

impl fmt::Debug for PostgresStoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::Server(server) => format!("{}:{}", server.get_host(), server.get_port()),
            Place::Pool(_) => "a pool of the caller's".into(),
        };
        f.debug_struct("PostgresStoreConfig")
            .field("place", &place)
            .field("names", &self.names)
            .field("limit", &self.limit)
            .field("connections", &self.connections)
            .field("makes_tables", &self.makes_tables)
            .field("behind_pooler", &self.behind_pooler)
            .finish()
    }
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
