//! The promises of the contract, one subject a file; one program, so that it links once.

mod support;

mod await_points;
mod concurrency;
mod envelopes;
mod layers;
mod moves_acquire;
mod moves_end;
mod moves_walk;
mod renewal;
mod run_answers;
mod run_cut_off;
mod store_faults;
mod unknown_policies;
mod values;
