//! Run an operation once a key: for retries that must not charge twice.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use idempotency::{Error, Idempotency, Key};
//!
//! let store = idempotency::connect("memory:").await?; // or "sled:./payments", or "redis://localhost"
//! let idem = Idempotency::new(store);
//!
//! let key = Key::new("payment:create", "ord_42").request(&("EUR", 1999)).build()?;
//! let paid = idem.execute_once(&key, async { Ok::<_, Error>("charged".to_owned()) }).await?;
//! let again = idem.execute_once(&key, async { Ok::<_, Error>("charged twice!".to_owned()) }).await?;
//!
//! assert!(again.is_replay());
//! assert_eq!(*again, *paid);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```
//!
//! A job that every process starts and only one may run, once a slot of its schedule:
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::{Duration, SystemTime};
//!
//! use idempotency::{Error, Exclusively, Idempotency};
//!
//! # let store = idempotency::connect("memory:").await?;
//! let idem = Idempotency::new(store);
//! let this_hour = (SystemTime::now(), Duration::from_secs(60 * 60));
//! let clean = || idem.exclusive("clean-up").slot_of(this_hour.0, this_hour.1);
//!
//! let done = clean().run(|_| async { Ok::<_, Error>(42) }).await?;
//! assert!(matches!(done, Exclusively::Ran(removed) if *removed == 42));
//! let again = clean().run(|_| async { Ok::<_, Error>(0) }).await?;
//! assert!(matches!(again, Exclusively::AlreadyDone { report: 42, .. }));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```
//!
//! Begin with [`Idempotency`] and [`Key`]; [`Call`] has the settings of one call (waiting, detached
//! runs, which errors had no effect, reconciling), [`Outcome`] and [`Error`] what comes of it, [`Exclusive`] the jobs, and
//! [`StoreExt::settle`] ends an attempt that stays unknown. [`Store`] has the upkeep: purge it every few
//! minutes. Whoever writes a store begins with [`IdempotencyStore`] and [`moves`].
//!
//! | Feature | What it adds |
//! |---|---|
//! | `sled` (default) | `connect("sled:./folder")`: durable, for one process |
//! | `memory` | `connect("memory:")`: forgets when the process ends |
//! | `redis` | `connect("redis://host")`, `redis-sentinel://`, `redis-cluster://`: for many machines |
//! | `redis-tls` | `connect("rediss://host")`: the same, encrypted |
//! | `postgres` | `connect("postgres://host/database")`, and `postgres::Transactions` |
//! | `postgres-tls` | the same, encrypted |
//! | `json` | `Json`: results that people read, or that change shape between releases |
//! | `http` | `http::server`: a tower layer that runs requests once an `Idempotency-Key` |
//! | `axum` | the same, with the route's template from axum's router |
//! | `http-client` | `http::client`: a middleware for reqwest that sends the key, and again with the same key; without the server's side |
//! | `near-cache` | `layers::NearCache`: replays from this process's memory |

mod connect;

pub use connect::{ConnectError, Store, connect};
// By name, so that the compiler can tell which feature they lack.
#[cfg(feature = "json")]
pub use idempotency_core::Json;
pub use idempotency_core::*;
#[cfg(any(feature = "http", feature = "http-client"))]
pub use idempotency_http as http;
#[cfg(feature = "memory")]
pub use idempotency_store_memory as memory;
#[cfg(feature = "postgres")]
pub use idempotency_store_postgres as postgres;
#[cfg(feature = "redis")]
pub use idempotency_store_redis as redis;
#[cfg(feature = "sled")]
pub use idempotency_store_sled as sled;

/// The README's code is built with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// So is that of the README on HTTP, which uses it as its users do: through this crate.
#[cfg(all(doctest, feature = "axum", feature = "http-client"))]
#[doc = include_str!("../../idempotency-http/README.md")]
struct HttpReadme;
