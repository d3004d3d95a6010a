//! A payment provider: a process of its own, with its own ledger, that can be told to misbehave; and the way to it.

pub mod gateway;
pub mod ledger;
pub mod server;

use std::path::Path;

use crate::Failure;
use crate::serve::{self, End};
use ledger::Ledger;

/// Runs the provider until it is told to end.
///
/// # Errors
///
/// If the ledger cannot be read or written, or the port not be listened on.
pub async fn run(ledger: &Path, port: u16, deduplicates: bool, end: End) -> Result<(), Failure> {
    let ledger = Ledger::open(ledger, deduplicates)?;
    let listener = serve::listen(port).await?;
    serve::say_where(&listener)?;
    tokio::select! {
        ended = server::serve(listener, server::router(ledger)) => match ended? {},
        () = end.wait() => Ok(()),
    }
}
