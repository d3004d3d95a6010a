//! States as bytes, to know them again.

use idempotency_core::{Completion, Effect, Lock, OnUnknown, Prior, Record, State, Timestamp};

use super::step::LONG_UNKNOWN_RETENTION;
use super::truth::{End, Truth};
use super::world::World;

/// The state as bytes, with all times relative to now, and without what no move and no promise looks
/// at: when attempts began and ended. Equal bytes go on equally.
pub(super) fn of(world: &World) -> Box<[u8]> {
    let mut code = Code { bytes: Vec::with_capacity(64), now: world.now };
    code.number(world.highest());
    for (record, truth) in world.keys() {
        code.record(record);
        code.truth(truth);
    }
    code.bytes.into_boxed_slice()
}

/// The longest that anything is remembered, in ticks, and one more.
const LONGEST: u64 = LONG_UNKNOWN_RETENTION + 1;

struct Code {
    bytes: Vec<u8>,
    now: Timestamp,
}

impl Code {
    fn number(&mut self, number: impl Into<u64>) {
        // All of them are small: bounded by the grants and the ticks.
        self.bytes.push(number.into() as u8);
    }

    fn time(&mut self, time: Timestamp) {
        let (until, since) = (self.now.until(time).as_secs(), time.until(self.now).as_secs());
        // Longer ago than anything is remembered, no longer ago makes a difference.
        self.number(until + LONGEST - since.min(LONGEST));
    }

    /// A time that counts only as long as it has not come.
    fn time_to_come(&mut self, time: Timestamp) {
        self.number(self.now.until(time).as_secs());
    }

    fn lock(&mut self, lock: Lock) {
        self.number(lock.owner.as_u128() as u64);
        self.number(lock.fence.get());
    }

    fn policy(&mut self, policy: OnUnknown) {
        self.number(policy as u64);
    }

    fn result(&mut self, result: &Completion) {
        match result {
            Completion::Value(value) => self.number(u64::from(value.first().copied().unwrap_or(9))),
            Completion::Omitted(_) => self.number(10_u64),
        }
    }

    fn prior(&mut self, prior: Option<&Prior>) {
        let Some(prior) = prior else { return self.number(0_u64) };
        self.number(1_u64);
        self.number(prior.attempt);
        self.number(prior.fence.get());
        self.number(prior.ended as u64);
        self.time_to_come(prior.remembered_until);
    }

    fn record(&mut self, record: Option<&Record>) {
        let Some(record) = record else { return self.number(0_u64) };
        self.lock(record.lock);
        if self.now >= record.forgotten_at() {
            // Of what is forgotten, only the fence may still count.
            return self.number(1_u64);
        }
        self.number(2_u64);
        self.number(record.fingerprint.as_bytes()[0]);
        self.number(record.attempt);
        self.prior(record.prior.as_ref());
        self.policy(record.on_unknown);
        match &record.state {
            State::InProgress { lease_until, confirmed, unknown_retention, .. } => {
                self.number(u64::from(*confirmed));
                self.time(*lease_until);
                self.number(unknown_retention.as_secs());
            }
            State::Unknown { until } => {
                self.number(3_u64);
                self.time(*until);
            }
            State::Released { until } => {
                self.number(4_u64);
                self.time(*until);
            }
            State::Completed { until, result, .. } => {
                self.number(5_u64);
                self.time(*until);
                self.result(result);
            }
        }
    }

    fn truth(&mut self, truth: &Truth) {
        self.number(truth.granted.len() as u64);
        truth.granted.iter().for_each(|lock| self.lock(*lock));
        let Some(latest) = truth.latest.as_ref().filter(|latest| self.now < latest.remembered) else {
            return self.number(0_u64);
        };
        self.number(1_u64);
        self.lock(latest.grant.lock);
        self.number(latest.grant.attempt);
        self.prior(latest.grant.prior.as_ref());
        self.number(latest.fingerprint.as_bytes()[0]);
        self.time(latest.until);
        self.time(latest.remembered);
        self.number(u64::from(latest.may_have_run));
        match latest.unsettled {
            Some(unsettled) => {
                self.number(unsettled.attempt);
                self.time_to_come(unsettled.remembered);
            }
            // There is no attempt 0.
            None => self.number(0_u64),
        }
        self.policy(latest.strictest);
        self.number(latest.unknown_retention().as_secs());
        match &latest.end {
            End::None => self.number(0_u64),
            End::Released(Effect::None) => self.number(1_u64),
            End::Released(Effect::Unknown) => self.number(2_u64),
            End::Released(Effect::Settled) => self.number(3_u64),
            End::Done(result) => {
                self.number(4_u64);
                self.result(result);
            }
        }
    }
}
