//! The cases.

mod acquiring;
mod asks;
mod cancelling;
mod declared;
mod durable;
mod durations;
mod holding;
mod load;
mod names;
mod promises;
mod races;
mod random;
mod states;
mod upkeep;
mod values;
mod watching;

use super::case::{Case, boxed};
use super::subject::Capability;

macro_rules! table {
    (() { $($module:ident $case:ident [$($need:ident)?])* }) => {
        pub(super) const ALL: &[Case] = &[$(Case {
            name: stringify!($case),
            needs: needs!($($need)?),
            run: |bench| boxed($module::$case(bench)),
        }),*];
    };
}

macro_rules! needs {
    () => {
        None
    };
    ($need:ident) => {
        Some(Capability::$need)
    };
}

crate::__conformance_cases! { (table) () }
