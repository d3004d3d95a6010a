//! Whether a recorded history of calls can be true.
//!
//! A store keeps its contract if every history of calls to it is *linearizable* (Herlihy and Wing,
//! *Linearizability: a correctness condition for concurrent objects*, 1990): some order of the calls
//! explains all answers by the [moves](idempotency_core::moves), one at a time, each at some moment
//! between its sending and its answer. Nobody has to watch the store: what its callers saw is enough.
//!
//! ```
//! use idempotency_core::{Claim, Fingerprint, Key, Timestamp};
//! use idempotency_testkit::{Belief, Call, history::History};
//!
//! let key = Key::new("payment:create", "ord_42").build()?;
//! let (sent, answered) = (Timestamp::from_micros(100), Timestamp::from_micros(200));
//! let mut history = History::new();
//! let claim = Call::Acquire(Box::new(Claim::new(Fingerprint::NONE)));
//! let asked = history.sent(&key, "alice", claim, sent);
//! history.unanswered(asked);                                    // the default, said for the reader
//! let looked = history.sent(&key, "bob", Call::Get, sent);
//! history.answered(looked, answered, Ok(idempotency_testkit::Answer::Found(None)));
//! let checked = history.check()?;                               // it may not have happened yet
//! assert_eq!((checked.calls, checked.unanswered), (2, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is taken to be so
//!
//! - Each key begins with nothing kept under it. Keys are checked one by one: linearizability is
//!   *local*, a history is possible exactly if it is so for every key (Herlihy and Wing, theorem 1).
//! - A call without an answer, or answered by an error that does not say that nothing was done, may
//!   have been carried out or not, at any time after it was sent: also long after its caller died.
//!   Errors of the kinds *unavailable*, *full* and *too large* say that nothing was done.
//! - The store's clock is the recorder's, but for what [`Timing`] says. It does not go back; where it
//!   does, calls without an answer may be thought later than they were.
//!
//! # Where the search may give up
//!
//! Deciding linearizability is NP-complete (Gibbons and Korach, *Testing shared memories*, 1997). Calls
//! that change nothing cost next to nothing here, so that thousands of answered calls under one key are
//! checked in a few milliseconds. Nor do *unanswered* calls cost much where nothing was forgotten in
//! between: a call that was only made again is tried as the first of its kind, and the attempts that later
//! answers tell of say early which of the calls can have happened. What costs is many unanswered
//! acquisitions under one key whose leases and retentions are no longer than calls take: then each may
//! have happened, and have been forgotten, nearly anywhere. Choose retentions longer than the history, or
//! more keys.
//!
//! # Where an impossible history may pass
//!
//! No possible history is ever rejected. The other way, the checker is generous where it cannot know:
//!
//! - The fence that an acquisition without an answer was given is unknown, unless another answer
//!   tells it (to the same owner, in a snapshot, as a later attempt's prior). One that nobody tells
//!   is only known to be larger than the one before it; that the one after it is larger still
//!   cannot be seen.
//! - Times are known within windows. Where several uncertain times of one record would have to fit
//!   together, each is looked at by itself.
//! - What the store remembers past a record's retention is its own affair.

mod alike;
mod attempts;
mod check;
mod events;
mod fences;
mod lines;
mod list;
mod memo;
mod mirror;
mod recorder;
mod recording;
mod search;
mod table;
mod timing;
mod verdict;

pub use check::Checked;
pub(crate) use check::was_refused;
pub use events::{CallId, History, Recorded};
pub use lines::ReadError;
pub use recorder::Recorder;
pub use recording::Recording;
pub use timing::{Offset, Timing};
pub use verdict::{GaveUp, Impossible, Verdict};
