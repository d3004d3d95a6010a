//! What the guides in `docs/guide` tell a reader to write: it is built and run here, and each piece of code
//! in a guide is held against these files.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)] // as a reader's own tests are

mod own_store;
mod own_store_test;
#[expect(dead_code, reason = "as in most services, what an error holds is only logged")]
mod refund;
mod refund_test;
mod texts;
