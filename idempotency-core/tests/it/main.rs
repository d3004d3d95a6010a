//! The promises of the contract, one subject a file; one program, so that it links once.

mod support;

mod moves_acquire;
mod moves_end;
