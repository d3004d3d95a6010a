//! A deterministic scheduler for services that use a store.

mod bounds;
mod clock;
mod effects;
mod event;
mod explorer;
mod failure;
mod network;
mod property;
mod quiet;
mod referee;
mod run;
mod shrink;
mod source;
mod teller;
mod trace;
mod world;

pub use bounds::Bounds;
pub use clock::SimClock;
pub use effects::{EffectError, Effects};
pub use event::{Event, Flight, NotAnEvent, Schedule};
pub use failure::Failure;
pub use property::{Explored, Passed, Property, check};
pub use referee::{EffectRule, Violation};
pub use run::Simulated;
pub use source::Wishes;
pub use trace::{Errand, Moved, Standing, Step, Then, Trace};
pub use world::{World, WorldStore};
