//! Who wrote, who waits, and up to where the disk has followed.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use tokio::sync::oneshot;

use crate::journal::error::{Fault, FaultKind, JournalError};

const IN_FLIGHT_BITS: u32 = 16;
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// The accounts of one journal. Knows nothing of sled.
///
/// Rounds number the flushes. A write that has returned while `begun` rounds had been begun is
/// durable once round `begun + 1` has completed, for that one began after it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Writes applied (upper bits) and in flight (lower bits), in one word so that both are seen at
    /// one moment.
    writes: AtomicU64,
    /// The count of writes applied that the last completed round is known to cover.
    clean: AtomicU64,
    begun: AtomicU64,
    completed: AtomicU64,
    queue: Mutex<Queue>,
    wake: Condvar,
    fault: OnceLock<Fault>,
    sentry: OnceLock<Thread>,
    sentry_asleep: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    /// Those whom the next round will serve.
    waiting: Vec<oneshot::Sender<()>>,
    /// Those whom the round under way serves; here, that a fault reaches them while it is stuck.
    served: Vec<oneshot::Sender<()>>,
    closing: bool,
}

/// A flush under way, and what it covers.
#[derive(Debug)]
pub(crate) struct Round {
    number: u64,
    covers: Option<u64>,
}

/// A write under way. Dropping it, also by a panic, ends it.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    ledger: &'a Ledger,
    applied: bool,
}

impl Ledger {
    /// The error that every call gets once the journal is closed.
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        self.fault.get().map_or(Ok(()), |fault| Err(JournalError::Closed(fault.clone())))
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }

    /// To be called before the database is touched, so that no reader can see the write and yet
    /// find the ledger clean.
    pub(crate) fn begin_write(&self) -> Write<'_> {
        self.writes.fetch_add(1, SeqCst);
        if self.sentry_asleep.load(SeqCst) && self.sentry_asleep.swap(false, SeqCst) {
            self.wake_sentry();
        }
        Write { ledger: self, applied: true }
    }

    /// Whether everything that a reader may have seen is durable. Ask after the read.
    pub(crate) fn is_clean(&self) -> bool {
        let writes = self.writes.load(SeqCst);
        writes & IN_FLIGHT == 0 && writes >> IN_FLIGHT_BITS == self.clean.load(SeqCst)
    }

    /// A ticket for everything that is visible by now.
    pub(crate) fn ticket(self: &Arc<Self>) -> Ticket {
        let needs = if self.is_clean() { 0 } else { self.begun.load(SeqCst) + 1 };
        Ticket { ledger: Arc::clone(self), needs }
    }

    fn enlist(&self, needs: u64) -> Result<Option<oneshot::Receiver<()>>, JournalError> {
        let mut queue = self.queue();
        // Under the lock: a round that completes later finds this waiter, or was seen here.
        if self.completed.load(SeqCst) >= needs {
            return Ok(None);
        }
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        queue.waiting.push(sender);
        let first = queue.waiting.len() == 1;
        drop(queue);
        if first {
            self.wake.notify_one();
        }
        Ok(Some(receiver))
    }

    /// Blocks until somebody waits, the journal is being dropped (`true`), or it was closed.
    pub(crate) fn wait_for_work(&self) -> bool {
        let queue = self.queue();
        let idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closing && self.fault.get().is_none();
        let queue = self.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        queue.closing
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    /// Takes everyone who waits. The flush must begin after this.
    pub(crate) fn begin_round(&self) -> Round {
        let mut queue = self.queue();
        queue.served = std::mem::take(&mut queue.waiting);
        drop(queue);
        let number = self.begun.fetch_add(1, SeqCst) + 1;
        let writes = self.writes.load(SeqCst);
        // A write in flight may or may not make it into this flush: leave the ledger dirty then.
        let covers = (writes & IN_FLIGHT == 0).then_some(writes >> IN_FLIGHT_BITS);
        Round { number, covers }
    }

    /// Acknowledges a round whose flush has completed.
    pub(crate) fn complete_round(&self, round: Round) {
        if let Some(covers) = round.covers {
            self.clean.store(covers, SeqCst);
        }
        self.completed.store(round.number, SeqCst);
        let served = std::mem::take(&mut self.queue().served);
        for waiter in served {
            let _cancelled = waiter.send(());
        }
    }

    /// The number of the round under way, if any.
    pub(crate) fn round_under_way(&self) -> Option<u64> {
        let begun = self.begun.load(SeqCst);
        (self.completed.load(SeqCst) < begun).then_some(begun)
    }

    /// Fails everyone who waits, now and later. The first fault stays.
    pub(crate) fn close(&self, fault: Fault) {
        let _later = self.fault.set(fault);
        let mut queue = self.queue();
        let waiters = (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.served));
        drop(queue);
        // The senders are dropped, not used: their receivers then look up the fault.
        drop(waiters);
        self.wake.notify_all();
    }

    /// Asks the flusher for a last round, and the sentry to leave.
    pub(crate) fn shut_down(&self) {
        self.queue().closing = true;
        self.wake.notify_all();
        self.wake_sentry();
    }

    pub(crate) fn wake_sentry(&self) {
        if let Some(sentry) = self.sentry.get() {
            sentry.unpark();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.queue().closing
    }

    pub(crate) fn set_sentry(&self, thread: Thread) {
        let _once = self.sentry.set(thread);
    }

    /// Says that the sentry is about to park; `false` if there is work that it must watch.
    pub(crate) fn sentry_may_sleep(&self) -> bool {
        self.sentry_asleep.store(true, SeqCst);
        let quiet = self.is_clean() && self.round_under_way().is_none();
        if !quiet {
            self.sentry_asleep.store(false, SeqCst);
        }
        quiet
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> JournalError {
        let dropped = || Fault::new(FaultKind::Dropped, "a wait");
        JournalError::Closed(self.fault.get().cloned().unwrap_or_else(dropped))
    }
}

impl Write<'_> {
    /// The database was left as it was: nobody has to wait for anything.
    pub(crate) fn had_no_effect(mut self) {
        self.applied = false;
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        let applied = if self.applied { 1 << IN_FLIGHT_BITS } else { 0 };
        self.ledger.writes.fetch_add(applied, SeqCst);
        self.ledger.writes.fetch_sub(1, SeqCst);
    }
}

/// The promise that a write, or something seen by a read, will be durable.
///
/// Dropping it takes nothing back: the write stands and will be flushed with the next one.
#[must_use = "a write is not durable before its ticket says so"]
#[derive(Clone)]
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    /// The round that must complete; 0 when there is nothing to wait for.
    needs: u64,
}

impl Ticket {
    /// Whether [`durable`](Self::durable) would return at once.
    pub(crate) fn is_durable(&self) -> bool {
        self.ledger.completed.load(SeqCst) >= self.needs
    }

    /// Waits until a flush begun after the write has completed. May be cancelled and called again.
    ///
    /// # Errors
    ///
    /// [`JournalError::Closed`] after a fault; whether the write survives is then unknown.
    pub(crate) async fn durable(&self) -> Result<(), JournalError> {
        if self.is_durable() {
            return Ok(());
        }
        match self.ledger.enlist(self.needs)? {
            None => Ok(()),
            Some(receiver) => receiver.await.map_err(|_| self.ledger.closed()),
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ticket").field("durable", &self.is_durable()).finish_non_exhaustive()
    }
}
