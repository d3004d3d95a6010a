//! The `Idempotency-Key` header: a request's handler runs once a key, and a retry gets the first response.
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # async fn routes(store: impl idempotency_core::IdempotencyStore) {
//! use axum::{Router, routing::post};
//! use idempotency_core::Idempotency;
//! use idempotency_http::server::IdempotencyLayer;
//!
//! let once = IdempotencyLayer::new(Idempotency::new(store));
//! let app: Router = Router::new().route("/payments", post(async || "paid")).layer(once);
//! # }
//! ```
//!
//! - [`header`] reads and writes the header's value.
//! - [`names`] are the headers that are read and written.
//! - [`problem`] are the answers where nothing ran.
//! - `server` (feature `server`, the default) is the layer for servers.
//! - `client` (feature `client`) is the middleware for clients that send with reqwest.
//!
//! | Feature | What it adds |
//! |---|---|
//! | `server` (default) | the layer, over any tower service |
//! | `axum` | the route's template from axum's router; the policy page as a `Router` |
//! | `client` | a middleware for reqwest: keys, retries that keep them, replays told |

#[cfg(feature = "client")]
pub mod client;
pub mod header;
pub mod names;
pub mod problem;
#[cfg(feature = "server")]
pub mod server;
