//! A layer that disturbs the calls to a store.
