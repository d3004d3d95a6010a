//! A TCP proxy that disturbs what goes through it.
