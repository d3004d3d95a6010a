//! The layer for servers: a request's handler runs once a key, and a retry gets the first response.
//!
//! # Where it stands
//!
//! **Inside authentication.** A replay does not come to the handler, and so not to what the handler itself
//! checks. [`Policy::with_scope`] takes the identity that was verified before, so that one client's key is
//! never another's; and whoever is no longer let in must be turned away before this layer:
//!
//! ```text
//! Router::new().route(…).layer(once).layer(authentication)   // axum: the last layer is the outermost
//! ```
//!
//! Outside of what changes every response (compression, CORS), so that it is done to replays too; inside
//! of what measures requests, or limits their rate. Outside of what limits **how many run at once**: a handler
//! goes on when its client has gone, and a limit around this layer would count the clients. Once on a route:
//! a layer within another, over the same store, finds its key taken.
//!
//! # What it does
//!
//! 1. Reads the key, checks its format, and gathers the body, within limits. What is wrong so far is
//!    answered before the store is asked.
//! 2. Runs the handler under the key's lock, **and on to its end when the client hangs up**: then a task takes
//!    it over. The handler finds the [`Attempt`](idempotency_core::Attempt) among the request's extensions, with
//!    the key for the provider's own deduplication, the fence, and whether an earlier attempt is unknown.
//! 3. Gathers the response and records it, if it is [final](Finality). One that is over the limit, or that
//!    takes its time as a stream does, is passed on to its client as it comes; that it was given is recorded.
//! 4. Answers a retry with the recorded response, marked `Idempotency-Replayed: true`.
//!
//! Of each response it says among its extensions [where it came from](Origin), for logs and audits around it. The
//! handler's log lines are in the caller's span, also when the caller has gone.

mod answers;
mod bodies;
mod conflict;
mod finality;
mod fingerprint;
mod headers;
mod identity;
mod json;
mod layer;
mod notes;
mod origin;
mod page;
mod policy;
mod record;
mod replies;
mod request_body;
mod response_body;
mod run;
mod service;
mod settle;
mod text;

pub use finality::Finality;
pub use fingerprint::BodyForm;
pub use headers::ReplayedHeaders;
pub use identity::{Missing, json_field};
pub use layer::IdempotencyLayer;
pub use origin::Origin;
pub use page::PolicyPage;
pub use policy::{DEFAULT_POLICY_URL, Policy, PolicyError};
pub use replies::Replay;
pub use request_body::RequestBody;
pub use response_body::ReplyBody;
pub use service::{IdempotencyService, ResponseFuture};
pub use settle::{RecordedResponse, record_key};
