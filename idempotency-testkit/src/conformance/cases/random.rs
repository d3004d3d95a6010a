//! Random commands, by the model.

use std::sync::Arc;

use crate::conformance::bench::Bench;
use crate::conformance::failure::Outcome;
use crate::model::{Config, check_on};

pub(crate) async fn random_commands_are_answered_as_by_the_moves(bench: Arc<Bench>) -> Outcome {
    let config = Config::new();
    // In real time a walk waits for most of its time.
    let config = match bench.clock() {
        Ok(_) => config.with_cases(bench.rounds(config.cases)),
        Err(_) => config.with_cases(bench.rounds(8)).with_commands(20),
    };
    check_on(bench, config).await
}
