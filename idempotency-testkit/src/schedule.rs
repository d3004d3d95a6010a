//! A deterministic scheduler for services that use a store.
