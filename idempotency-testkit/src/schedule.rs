//! Services held to *one effect a key*, in every schedule: duplicates, crashes, lost answers, pauses.
//!
//! Give a function that handles one request against [`World::store`] and has its effects in
//! [`World::effects`]. The kit sends requests, several copies of each, and decides at every call what
//! happens next: who goes on, whose answer is lost, who dies, how far time moves.
//!
//! ```
//! use idempotency_core::{Error, Key};
//! use idempotency_testkit::schedule::{EffectError, World, check};
//! # #[derive(Debug)]
//! # enum Failed { Outside(EffectError), Core(Error) }
//! # impl From<Error> for Failed { fn from(error: Error) -> Self { Self::Core(error) } }
//! # impl From<EffectError> for Failed { fn from(error: EffectError) -> Self { Self::Outside(error) } }
//!
//! async fn pay(world: World, cents: u64) -> Result<u64, Failed> {
//!     let key = Key::payment("create", "ord_42").request(&cents).build().unwrap();
//!     let (idempotency, provider) = (world.idempotency(), world.effects());
//!     let paid = idempotency.execute_once(&key, async {
//!         provider.record(&key).await?;
//!         Ok::<_, Failed>(cents)
//!     });
//!     Ok(paid.await?.into_inner())
//! }
//!
//! check(pay); // as the body of a #[test]
//! ```
//!
//! # How it works
//!
//! Everything runs on one thread, on a tokio runtime whose time is paused; ordinary async code runs as it
//! is. A call to the store or to the world outside does not go there: it waits on a simulated network
//! until the schedule carries it, and its answer waits again. So before and after the effect of each call
//! is a point at which anything can happen. A step takes a millisecond of simulated time; what waits for
//! timers waits for the schedule to let time pass.
//!
//! - [`Property::check`] draws schedules at random, shortens one that breaks a rule, and tells what
//!   happened: in words, as a timeline, as a drawing under `target/idempotency`. A seed has the same search
//!   done again, a printed [`Schedule`] the same run ([`Property::replay`]).
//! - [`Property::explore`] runs *all* schedules within [`Bounds`].
//! - [`Property::run`] is for property tests of one's own.
//!
//! Every answer of the store is held against the moves, too: with [`Property::on_store`], a store of one's
//! own is tried in the same schedules. One whose calls have await points is interleaved at these, and its
//! answers are held against every order that there can be (see [`history`](crate::history)).
//!
//! # What a schedule does not rule
//!
//! A service's own threads, `spawn_blocking`, real sockets, `select!` without `biased`, and random choices: a
//! run may then differ from its replay, which is told as such. Whatever a service keeps in statics is shared
//! by processes that ought not to share it. The operating system is not simulated.

mod bounds;
mod clock;
mod effects;
mod event;
mod explorer;
mod failure;
mod flying;
mod network;
mod plan;
mod property;
mod quiet;
mod referee;
mod run;
mod sent;
mod shrink;
mod signal;
mod source;
mod teller;
mod trace;
mod world;

pub use bounds::Bounds;
pub use clock::SimClock;
pub use effects::{EffectError, Effects};
pub use event::{Event, Flight, NotAnEvent, Schedule};
pub use failure::Failure;
pub use plan::Simulated;
pub use property::{Explored, Passed, Property, check};
pub use referee::{EffectRule, Violation};
pub use source::Wishes;
pub use trace::{Errand, Moved, Standing, Step, Then, Trace};
pub use world::{World, WorldStore};
