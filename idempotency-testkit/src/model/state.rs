//! What the commands so far come to, by the moves: it guides which are drawn next.

use idempotency_core::{Fence, Lock, Record, Timestamp};

use super::command::Command;
use crate::call::Call;
use crate::conformance::bench::Times;

/// The keys as the moves have them.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) keys: Vec<Kept>,
    now: Timestamp,
    fence: Fence,
    times: Times,
    back: bool,
}

/// One key.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    record: Option<Record>,
    pub(super) locks: Vec<Lock>,
    pub(super) calls: Vec<Call>,
}

impl State {
    /// Nothing is kept. Where `back` is not set, clocks only go forward.
    pub(super) fn new(keys: usize, times: Times, back: bool) -> Self {
        Self {
            keys: vec![Kept::default(); keys],
            now: Timestamp::from_micros(1 << 60),
            fence: Fence::new(1 << 20),
            times,
            back,
        }
    }

    pub(super) const fn may_go_back(&self) -> bool {
        self.back
    }

    /// Whether the command makes sense: its key's lock was granted, the call it repeats was made.
    pub(super) fn allows(&self, command: &Command) -> bool {
        match command {
            Command::Ask { key, ask, .. } => {
                self.keys.get(*key).is_some_and(|kept| ask.call(&kept.locks, &kept.calls, self.times).is_some())
            }
            Command::Back(_) => self.back,
            Command::Pass(_) | Command::Purge => true,
        }
    }

    /// The keys after it.
    pub(super) fn after(mut self, command: &Command) -> Self {
        match command {
            Command::Pass(span) => self.now = self.now.plus(span.of(self.times)),
            Command::Back(span) => {
                let back = u64::try_from(span.of(self.times).as_micros()).unwrap_or(u64::MAX);
                self.now = Timestamp::from_micros(self.now.as_micros().saturating_sub(back));
            }
            Command::Purge => {}
            Command::Ask { key, ask, .. } => {
                let times = self.times;
                self.fence = self.fence.next();
                let (now, fence) = (self.now, self.fence);
                if let Some(kept) = self.keys.get_mut(*key)
                    && let Some(call) = ask.call(&kept.locks, &kept.calls, times)
                {
                    kept.make(call, now, fence);
                }
            }
        }
        self
    }
}

impl Kept {
    fn make(&mut self, call: Call, now: Timestamp, fence: Fence) {
        let made = call.by_the_moves(self.record.as_ref(), now, fence);
        if let Some(grant) = made.answer.granted()
            && !self.locks.contains(&grant.lock)
        {
            self.locks.push(grant.lock);
        }
        self.record = made.write.or(self.record.take());
        self.calls.push(call);
    }
}
