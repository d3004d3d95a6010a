//! Random commands, by the model.

use std::sync::Arc;

use crate::conformance::bench::Bench;
use crate::conformance::failure::Outcome;

pub(crate) async fn random_commands_are_answered_as_by_the_moves(bench: Arc<Bench>) -> Outcome {
    let _ = bench;
    Ok(())
}
