//! Renews the leases of all of a handle's runs.
//!
//! A run only registers its lease here and takes it off again when it ends; a task that sleeps until
//! the first lease is due does the rest. So a short run pays for two visits to a mutex, and renewal
//! goes on whether or not the run is polled. Each runtime that uses a handle has a lane of its own:
//! a lane's task dies with its runtime, and so do the runs it renews for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use slab::Slab;
use tokio::runtime::{self, Handle};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use crate::ask::ask;
use crate::lease::{Lease, LeaseLost};
use crate::moves::Held;
use crate::store::IdempotencyStore;

/// Renewal begins when a third of the lease is over.
const RENEW_AFTER: u32 = 3;
/// One call to the store may take a sixth of the lease, so that a hung one leaves time for others.
const TRIES_A_LEASE: u32 = 6;
/// Leases due within a thirtieth of their length are renewed together.
const TOGETHER: u32 = 30;

#[derive(Debug)]
pub(crate) struct Renewer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Arc<dyn IdempotencyStore>,
    lanes: Mutex<Vec<Lane>>,
}

/// The leases of one runtime's runs.
#[derive(Debug)]
struct Lane {
    runtime: runtime::Id,
    leases: Slab<Entry>,
    /// When the lane's task wakes; `None` where it has none.
    wakes_at: Option<Instant>,
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct Entry {
    lease: Arc<Lease>,
    /// `None` while a renewal is under way.
    due: Option<Instant>,
}

/// Keeps a lease renewed for as long as it lives.
#[derive(Debug)]
pub(crate) struct Registration {
    shared: Arc<Shared>,
    runtime: runtime::Id,
    slot: usize,
    lease: Arc<Lease>,
}

impl Renewer {
    pub(crate) fn new(store: Arc<dyn IdempotencyStore>) -> Self {
        Self(Arc::new(Shared { store, lanes: Mutex::default() }))
    }

    /// Keeps `lease` renewed on `runtime` until the registration is dropped.
    pub(crate) fn register(&self, lease: &Arc<Lease>, runtime: &Handle) -> Registration {
        let shared = &self.0;
        let due = lease.until() - lease.length + lease.length / RENEW_AFTER;
        let id = runtime.id();
        let mut lanes = shared.lanes();
        let lane = match lanes.iter().position(|lane| lane.runtime == id) {
            Some(at) => &mut lanes[at],
            None => {
                lanes.push(Lane { runtime: id, leases: Slab::new(), wakes_at: None, wake: Arc::default() });
                let last = lanes.len() - 1;
                &mut lanes[last]
            }
        };
        let slot = lane.leases.insert(Entry { lease: lease.clone(), due: Some(due) });
        let start = lane.wake_by(due);
        drop(lanes);
        if let Some(wake) = start {
            // Outside the lock: a runtime that is shutting down drops the task at once.
            shared.serve_on(runtime, due, wake);
        }
        Registration { shared: shared.clone(), runtime: id, slot, lease: lease.clone() }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.lease.end();
        let mut lanes = self.shared.lanes();
        let Some(at) = lanes.iter().position(|lane| lane.runtime == self.runtime) else { return };
        lanes[at].leases.try_remove(self.slot);
        // Without a task there is nobody else to take the lane away.
        if lanes[at].wakes_at.is_none() && lanes[at].leases.is_empty() {
            lanes.swap_remove(at);
        }
    }
}

impl Lane {
    /// Sees to it that the task wakes by `due`; gives what a new task needs where there is none.
    fn wake_by(&mut self, due: Instant) -> Option<Arc<Notify>> {
        match self.wakes_at {
            Some(at) if at <= due => None,
            Some(_) => {
                self.wakes_at = Some(due);
                self.wake.notify_one();
                None
            }
            None => {
                self.wakes_at = Some(due);
                Some(self.wake.clone())
            }
        }
    }

    /// The leases to renew now. Sets when the next is due.
    fn take_due(&mut self, now: Instant) -> Vec<(usize, Arc<Lease>)> {
        let mut taken = Vec::new();
        for (slot, entry) in &mut self.leases {
            let lease = &entry.lease;
            if entry.due.is_none_or(|due| due > now + lease.length / TOGETHER) {
                continue;
            }
            if now < lease.renew_until && lease.until() < lease.holds_until {
                entry.due = None;
                taken.push((slot, lease.clone()));
            } else if now < lease.until() {
                entry.due = Some(lease.until());
            } else {
                lease.lose(LeaseLost::RanTooLong);
                entry.due = None;
            }
        }
        self.wakes_at = self.leases.iter().filter_map(|(_, entry)| entry.due).min();
        taken
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a lane has to renew now, and when it is to wake next. One without leases goes.
    fn take_due(&self, runtime: runtime::Id) -> (Vec<(usize, Arc<Lease>)>, Option<Instant>) {
        let mut lanes = self.lanes();
        let Some(at) = lanes.iter().position(|lane| lane.runtime == runtime) else { return (Vec::new(), None) };
        let taken = lanes[at].take_due(Instant::now());
        let next = lanes[at].wakes_at;
        if lanes[at].leases.is_empty() {
            lanes.swap_remove(at);
        }
        (taken, next)
    }

    /// Starts a lane's task. A runtime that is shutting down drops it unpolled, which must be noticed too.
    fn serve_on(self: &Arc<Self>, runtime: &Handle, first: Instant, wake: Arc<Notify>) {
        let lane = LaneTask { shared: Arc::downgrade(self), runtime: runtime.id(), over: false };
        // Outside the lock: dropping the task takes it.
        runtime.spawn(lane.serve(first, wake));
    }

    /// Renews one lease, trying again until it is over.
    async fn renew(self: Arc<Self>, runtime: runtime::Id, slot: usize, lease: Arc<Lease>) {
        let shortest = (lease.length / 200).max(Duration::from_millis(1));
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(shortest)
            .with_max_delay((lease.length / 20).max(shortest))
            .with_jitter()
            .without_max_times()
            .build();
        while !lease.is_over() {
            let asked_at = Instant::now();
            let Some(left) = lease.until().checked_duration_since(asked_at).filter(|left| !left.is_zero()) else {
                return lease.lose(LeaseLost::NotRenewed);
            };
            let length = lease.length_from(asked_at);
            let limit = left.min((lease.length / TRIES_A_LEASE).max(Duration::from_millis(1)));
            match ask("extend_lock", limit, || self.store.extend_lock(&lease.key, &lease.lock, length)).await {
                Ok(Held::Held) => {
                    lease.renewed(asked_at, length);
                    return self.renewed(runtime, slot, &lease, asked_at + lease.length / RENEW_AFTER);
                }
                Ok(Held::Lost) => return lease.lose(LeaseLost::Taken),
                Err(error) => {
                    tracing::warn!(key = %lease.key, %error, ?left, "a lease was not renewed; trying again");
                    // The call took its time, too: a lease that is over is told at once.
                    let left = lease.until().saturating_duration_since(Instant::now());
                    sleep(delays.next().unwrap_or(shortest).min(left)).await;
                }
            }
        }
    }

    fn renewed(self: &Arc<Self>, runtime: runtime::Id, slot: usize, lease: &Arc<Lease>, due: Instant) {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.iter_mut().find(|lane| lane.runtime == runtime) else { return };
        // The run may have ended meanwhile, and another have its slot.
        let Some(entry) = lane.leases.get_mut(slot).filter(|entry| Arc::ptr_eq(&entry.lease, lease)) else { return };
        entry.due = Some(due);
        let start = lane.wake_by(due);
        drop(lanes);
        if let Some(wake) = start {
            self.serve_on(&Handle::current(), due, wake);
        }
    }
}

/// A lane's task. Dropped before its end, with its runtime, it takes the lane along.
struct LaneTask {
    shared: Weak<Shared>,
    runtime: runtime::Id,
    over: bool,
}

impl LaneTask {
    /// Sleeps until a lease is due, has it renewed, and ends when none is left.
    async fn serve(mut self, first: Instant, wake: Arc<Notify>) {
        let mut wakes_at = first;
        loop {
            // Until then, or until an earlier one is registered.
            drop(timeout_at(wakes_at, wake.notified()).await);
            // Asleep, the task keeps neither the handle nor the store open.
            let Some(shared) = self.shared.upgrade() else { return };
            let (taken, next) = shared.take_due(self.runtime);
            for (slot, lease) in taken {
                tokio::spawn(shared.clone().renew(self.runtime, slot, lease));
            }
            match next {
                Some(next) => wakes_at = next,
                None => {
                    self.over = true;
                    return;
                }
            }
        }
    }
}

impl Drop for LaneTask {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade().filter(|_| !self.over) else { return };
        let mut lanes = shared.lanes();
        let gone = lanes.iter().position(|lane| lane.runtime == self.runtime).map(|at| lanes.swap_remove(at));
        drop(lanes);
        // A run may be carried on on another runtime, where nobody renews its lease.
        for (_, entry) in gone.iter().flat_map(|lane| &lane.leases) {
            entry.lease.lose(LeaseLost::NotRenewed);
        }
    }
}
