//! The promises of the contract, one subject a file; one program, so that it links once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic, in its helpers too")]

mod support;

mod await_points;
mod codecs;
mod concurrency;
mod doubts;
mod envelopes;
mod exclusive_cut_off;
mod exclusive_matrix;
mod exclusive_slots;
mod exclusive_times;
mod faithful_values;
mod fingerprints;
mod formats;
mod handles;
mod hostile_stores;
mod keys;
mod layers;
mod moves_acquire;
mod moves_end;
mod moves_walk;
#[cfg(feature = "near-cache")]
mod near_cache;
mod renewal;
mod run_answers;
mod run_cut_off;
mod settings;
mod settling_races;
mod several_runtimes;
mod shown;
mod spans;
mod store_faults;
mod unknown_policies;
mod values;
