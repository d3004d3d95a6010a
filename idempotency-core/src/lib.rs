//! The contract of idempotent execution: what a store promises, and what a run makes of it.
//!
//! Services use the facade crate `idempotency`; stores and layers are built on this one.
//!
//! - [`Key`] names an operation and carries the [`Fingerprint`] of its request.
//! - [`IdempotencyStore`] keeps a [`Record`] a key; the [`moves`] say how it changes.
//! - [`Idempotency`] runs an operation once a key, over any store: [`Idempotency::execute_once`]; and jobs
//!   that never run twice at once: [`Idempotency::exclusive`].
//!
//! # Promised
//!
//! One live holder a key; results that do not change; no stale caller that changes anything; no lock
//! over a result; no cross-talk between requests or scopes; what was acknowledged is as durable as
//! the store's [`Guarantees`] say; a run after an unknown attempt is always told so; no value that an
//! operation returned is lost; locks, unknown attempts and results are never evicted.
//!
//! # Not promised
//!
//! That an effect outside the store happens exactly once: only its provider can see to that, by the
//! [downstream key](Key::downstream) or the [fence](Attempt::fence). Anything across a failover that
//! forgets acknowledged writes. That at most once lasts longer than the unknown retention.

mod ask;
mod attempt;
mod call;
mod codec;
mod detachable;
mod error;
mod exclusive;
mod fingerprint;
mod guarantees;
mod handle;
mod hold;
mod key;
mod lease;
mod lock;
mod note;
mod notifier;
mod outcome;
mod plan;
mod purging;
mod record;
mod renewer;
mod run;
mod settle;
mod shared;
mod status;
mod store;
mod time;
mod upkeep;

pub mod envelope;
pub mod layers;
pub mod moves;

pub use async_trait::async_trait;
pub use attempt::Attempt;
pub use call::{Call, Running};
#[cfg(feature = "json")]
pub use codec::Json;
pub use codec::{Bincode, Codec, CodecError, Replay, Target, Transform, Transformed, content_of};
pub use detachable::Detachable;
pub use error::{Error, InvalidCall, NotReplayable, StoreError, StoreErrorKind};
pub use exclusive::{Exclusive, Exclusively};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use guarantees::{Answer, ClockSource, FenceSource, Guarantees, Requirements, TooWeak};
pub use handle::{Idempotency, RequireError, StillRunning, execute_once};
pub use key::{DownstreamKey, Key, KeyBuilder, KeyError, LONGEST_PART, MOST_ID_PARTS};
pub use lease::LeaseLost;
pub use lock::{Claim, Effect, Fence, Lock, OnUnknown, Owner, defaults};
pub use moves::{Acquired, Grant, Held};
pub use note::{Attributes, Context, InvalidNote, LONGEST_CONTEXT, MOST_ATTRIBUTES};
pub use notifier::Notifier;
pub use outcome::{How, Origin, Outcome, Unrecorded};
pub use plan::{Classify, NoReconcile, Reconcile, Unclassified};
pub use purging::{InvalidTimeOfDay, PurgeReport, PurgeSchedule, Purging, TimeOfDay};
pub use record::{Completion, Ended, Omitted, Prior, Record, Snapshot, State};
pub use settle::{SettleError, Settling, StoreExt};
pub use status::Status;
pub use store::{IdempotencyStore, Watch};
pub use time::{Clock, InvalidDuration, LONGEST, ManualClock, SHORTEST, SystemClock, Timestamp};
pub use upkeep::{Page, Purged, Stats, Upkeep};
