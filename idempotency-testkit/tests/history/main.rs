//! Histories that can be true, and histories that cannot.

mod brute;
mod random;
