//! Holds any store to the contract, case by case.
