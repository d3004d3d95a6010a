//! The one thread that flushes for all who wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crate::journal::error::Fault;
use crate::journal::ledger::Ledger;

/// What a flush is made of; a trait so that the order of things can be tested without a disk.
pub(crate) trait Medium: Send + Sync + 'static {
    /// Hands every write to the operating system: it then survives the process.
    fn flush(&self) -> Result<(), Fault>;

    /// Has the operating system put it on the disk: it then survives a power cut.
    fn sync(&self) -> Result<(), Fault>;

    /// A fault that nobody has been told of yet.
    fn failure(&self) -> Option<Fault>;

    /// Wakes threads that are stuck inside after a failure. Must not block.
    fn poke(&self);
}

/// For how long a round may wait for the tasks that the last one released to write again.
const GATHER: Duration = Duration::from_micros(100);

/// Runs until the ledger is shut down or closed; the last round is on the way out.
pub(crate) fn run(ledger: &Ledger, medium: &dyn Medium) {
    let mut last = 0;
    loop {
        let closing = ledger.wait_for_work();
        if ledger.fault().is_some() {
            return;
        }
        gather(ledger, last);
        last = ledger.waiting();
        let round = ledger.begin_round();
        let flushed = catch_unwind(AssertUnwindSafe(|| {
            medium.flush()?;
            medium.sync()
        }))
        .unwrap_or_else(|payload| Err(Fault::panic("a flush", &*payload)));
        match flushed {
            Ok(()) => ledger.complete_round(round),
            Err(fault) => return ledger.close(fault),
        }
        if closing && ledger.waiting() == 0 {
            return;
        }
    }
}

/// A lone caller is served at once. Where the last round released several, most of them are about
/// to write again, and a flush for the first of them would keep the rest waiting for two.
fn gather(ledger: &Ledger, last: usize) {
    if last < 2 {
        return;
    }
    let begun = Instant::now();
    while ledger.waiting() < last && begun.elapsed() < GATHER {
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::sync::{Arc, Mutex, mpsc};

    use super::*;
    use crate::journal::error::{FaultKind, JournalError};

    /// Does one step for every message that the test sends.
    struct Stepped {
        steps: Mutex<mpsc::Receiver<Step>>,
        flushes: AtomicU32,
        syncs: AtomicU32,
    }

    enum Step {
        Pass,
        Fail,
        Panic,
    }

    impl Stepped {
        fn step(&self) -> Result<(), Fault> {
            match self.steps.lock().unwrap().recv() {
                Ok(Step::Pass) => Ok(()),
                Ok(Step::Panic) => panic!("as told"),
                Ok(Step::Fail) | Err(_) => Err(Fault::new(FaultKind::Io, "a step")),
            }
        }
    }

    impl Medium for Stepped {
        fn flush(&self) -> Result<(), Fault> {
            self.step()?;
            self.flushes.fetch_add(1, SeqCst);
            Ok(())
        }
        fn sync(&self) -> Result<(), Fault> {
            self.step()?;
            self.syncs.fetch_add(1, SeqCst);
            Ok(())
        }
        fn failure(&self) -> Option<Fault> {
            None
        }
        fn poke(&self) {}
    }

    fn start() -> (Arc<Ledger>, Arc<Stepped>, mpsc::Sender<Step>) {
        let (sender, steps) = mpsc::channel();
        let medium =
            Arc::new(Stepped { steps: Mutex::new(steps), flushes: AtomicU32::new(0), syncs: AtomicU32::new(0) });
        let ledger = Arc::new(Ledger::default());
        let (of_thread, its_ledger) = (Arc::clone(&medium), Arc::clone(&ledger));
        thread::spawn(move || run(&its_ledger, &*of_thread));
        (ledger, medium, sender)
    }

    #[tokio::test]
    async fn acknowledges_after_flush_and_sync_and_not_before() {
        let (ledger, medium, steps) = start();
        drop(ledger.begin_write());
        let ticket = ledger.ticket();
        let waiter = tokio::spawn(async move { ticket.durable().await });
        steps.send(Step::Pass).unwrap();
        while medium.flushes.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiter.is_finished(), "acknowledged before the sync");
        assert!(!ledger.is_clean());
        steps.send(Step::Pass).unwrap();
        waiter.await.unwrap().unwrap();
        assert_eq!(medium.syncs.load(SeqCst), 1);
        assert!(ledger.is_clean());
    }

    #[tokio::test]
    async fn a_write_during_a_flush_waits_for_the_next_one() {
        let (ledger, _medium, steps) = start();
        drop(ledger.begin_write());
        let first = ledger.ticket();
        let first = tokio::spawn(async move { first.durable().await });
        while ledger.round_under_way().is_none() {
            tokio::task::yield_now().await;
        }
        drop(ledger.begin_write());
        let second = ledger.ticket();
        let watched = second.clone();
        let waiter = tokio::spawn(async move { second.durable().await });
        steps.send(Step::Pass).unwrap();
        steps.send(Step::Pass).unwrap();
        first.await.unwrap().unwrap();
        assert!(!watched.is_durable(), "covered by a flush begun before it");
        assert!(!ledger.is_clean());
        steps.send(Step::Pass).unwrap();
        steps.send(Step::Pass).unwrap();
        waiter.await.unwrap().unwrap();
        assert!(ledger.is_clean());
    }

    #[tokio::test]
    async fn a_write_in_flight_keeps_the_ledger_dirty() {
        let (ledger, _medium, steps) = start();
        let in_flight = ledger.begin_write();
        let seen = ledger.ticket();
        assert!(!seen.is_durable());
        steps.send(Step::Pass).unwrap();
        steps.send(Step::Pass).unwrap();
        seen.durable().await.unwrap();
        drop(in_flight);
        assert!(!ledger.is_clean(), "that flush may have missed the write");
    }

    #[tokio::test]
    async fn a_write_without_effect_costs_no_flush() {
        let (ledger, medium, _steps) = start();
        ledger.begin_write().had_no_effect();
        ledger.ticket().durable().await.unwrap();
        assert_eq!(medium.flushes.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn a_fault_reaches_all_who_wait_and_all_who_come_later() {
        for (step, kind) in [(Step::Fail, FaultKind::Io), (Step::Panic, FaultKind::Panicked)] {
            let (ledger, _medium, steps) = start();
            drop(ledger.begin_write());
            let (one, two) = (ledger.ticket(), ledger.ticket());
            let one = tokio::spawn(async move { one.durable().await });
            let late = two.clone();
            let two = tokio::spawn(async move { two.durable().await });
            steps.send(step).unwrap();
            let late = async { (two.await.unwrap(), late.durable().await) };
            let (first, (second, late)) = (one.await.unwrap(), late.await);
            for result in [first, second, late, ledger.check()] {
                let Err(JournalError::Closed(fault)) = result else { panic!("{result:?}") };
                assert_eq!(fault.kind(), kind);
            }
        }
    }

    #[tokio::test]
    async fn a_cancelled_wait_harms_nobody() {
        let (ledger, _medium, steps) = start();
        drop(ledger.begin_write());
        let ticket = ledger.ticket();
        let wait = tokio::time::timeout(Duration::from_millis(10), ticket.durable());
        assert!(wait.await.is_err());
        for _ in 0..4 {
            steps.send(Step::Pass).unwrap();
        }
        ticket.durable().await.unwrap();
    }
}
