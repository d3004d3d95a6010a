//! What the five services share: a command line, a way to serve and to end, a journal on disk, an audit log,
//! correlation ids, problem details, a job's schedule, and a payment provider that is a process of its own.
//!
//! The services are in `src/bin`; start with `examples/README.md`.

pub mod app;
pub mod audit;
pub mod client;
pub mod correlation;
pub mod journal;
pub mod problem;
pub mod process;
pub mod provider;
pub mod schedule;
pub mod serve;

/// Why a program ends without having done its work, for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
