//! The middleware for clients: a key for each logical request, kept for every time that it is sent.
//!
//! ```
//! # use std::error::Error;
//! use idempotency_http::client::{IdempotencyMiddleware, KeyFile, Operation, ReplayExt};
//! use idempotency_http::client::reqwest_middleware::ClientBuilder;
//!
//! # async fn pay(url: &str, folder: &std::path::Path) -> Result<(), Box<dyn Error>> {
//! let keys = KeyFile::open(folder.join("keys"))?;
//! let once = IdempotencyMiddleware::new().with_key_store(keys);
//! let client = ClientBuilder::new(reqwest::Client::new()).with(once).build();
//!
//! let paid = client.post(url).with_extension(Operation::new("order-42")?).body("amount=5").send().await?;
//! if paid.is_replay() {
//!     println!("it was paid before; the answer will be kept for {:?}", paid.remaining_life());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! 1. **Finds the key**: the header that the caller has set, or else a [`ClientKey`] or the key of an
//!    [`Operation`] among the request's extensions, or else a new random one, for POST and PATCH. What the
//!    caller has set is never changed.
//! 2. **Sends**, and sends again with the same key: where no connection came about, or broke, or took too
//!    long; for 409 while the first request runs; for 425, 429, 502, 503 and 504. It waits as long as
//!    `Retry-After` says, or by a growing, random pause; up to a number of attempts and a whole time
//!    ([`Retry`]). A request without a key is sent again only where its method is idempotent by itself
//!    (RFC 9110, section 9.2.2); so is one whose header has no
//!    valid key.
//! 3. **Tells** what came of it: [`ReplayExt`] of an answer, [`ClientError`] where there is none that the
//!    caller could use.
//!
//! # What it leaves to others
//!
//! A whole answer is waited for only up to a [limit](IdempotencyMiddleware::with_whole_answers). One that
//! is larger, or whose length is not told beforehand, can break off under the hands of the caller, who then
//! asks again with the [key](Sent::key) that it was sent with.
//!
//! Put it outside of middlewares that sign or count each sending, and use no other that sends again.

mod answer;
mod error;
mod gather;
mod key;
mod key_file;
mod key_store;
mod middleware;
mod retry;
mod retry_after;
mod send;
mod verdict;

pub use answer::{ReplayExt, Sent};
pub use error::{ClientError, GaveUp, Last, Limit};
pub use key::{ClientKey, Operation, OperationError};
pub use key_file::KeyFile;
pub use key_store::{KeyStore, KeyStoreError};
pub use middleware::{IdempotencyMiddleware, Spelling};
pub use retry::Retry;
/// As this crate has it, for versions that fit together.
pub use {reqwest, reqwest_middleware};
