//! Histories that can be true, and histories that cannot.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic, in its helpers too")]

mod brute;
mod clocks;
mod hand;
mod loads;
mod naive;
mod outages;
mod random;
mod rules;
mod unanswered;
