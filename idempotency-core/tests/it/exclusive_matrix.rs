//! Exclusive runs: every state that a job may be found in, and every way in which a run may end.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idempotency_core::{Attempt, Claim, Error, Exclusively, Idempotency, IdempotencyStore, Key, LeaseLost, Status};
use tokio::time::{sleep, timeout};

use crate::support::{Failed, Fault, Faulty, LEASE, Method, faulty, settle_down};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How the job is found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Free,
    Running,
    /// Its last run died in it.
    Lapsed,
    TooSoon,
    SlotDone,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Succeeds,
    Fails,
    Panics,
    IsDropped,
    IsLost,
}

const ALL_ENDS: [Ends; 5] = [Ends::Succeeds, Ends::Fails, Ends::Panics, Ends::IsDropped, Ends::IsLost];

fn job() -> Key {
    Key::new("exclusive", "expire").build().unwrap()
}

fn slot() -> Key {
    Key::new("exclusive", "expire").part("18:00").build().unwrap()
}

/// What came of a run, as far as it is told.
#[derive(Debug)]
enum Came {
    Back(Result<Exclusively<u32>, Failed>),
    Panicked,
    Dropped,
}

struct Case {
    store: Arc<Faulty>,
    handle: Idempotency,
    has_slot: bool,
}

impl Case {
    fn new(has_slot: bool) -> Self {
        let (store, handle) = faulty();
        Self { store, handle, has_slot }
    }

    async fn run<F, Fut>(&self, job: F) -> Result<Exclusively<u32>, Failed>
    where
        F: FnOnce(Attempt) -> Fut + Send,
        Fut: Future<Output = Result<u32, Failed>> + Send,
    {
        let run = self.handle.exclusive("expire").at_most_for(HOUR);
        let run = if self.has_slot { run.slot("18:00") } else { run };
        run.run(job).await
    }

    async fn found(&self, found: Found) {
        match found {
            Found::Free => {}
            Found::Running => {
                let running = self.handle.clone();
                tokio::spawn(async move {
                    let run = running.exclusive("expire").run(|_| pending::<Result<u32, Failed>>());
                    let _ = run.await.unwrap();
                });
                tokio::task::yield_now().await;
            }
            Found::Lapsed => {
                for key in [Some(job()), self.has_slot.then(slot)].into_iter().flatten() {
                    self.store.acquire_lock(&key, &Claim::new(key.fingerprint())).await.unwrap();
                }
                sleep(LEASE).await;
            }
            Found::TooSoon => {
                let before = self.handle.exclusive("expire").at_least_for(HOUR);
                assert!(matches!(before.run(async |_| Ok::<u32, Failed>(1)).await, Ok(Exclusively::Ran(_))));
            }
            Found::SlotDone => {
                let before = self.handle.exclusive("expire").slot("18:00");
                assert!(matches!(before.run(async |_| Ok::<u32, Failed>(1)).await, Ok(Exclusively::Ran(_))));
            }
        }
    }

    /// A run that ends so, should it run. What came of it, and whether it ran.
    async fn ends(self: &Arc<Self>, ends: Ends) -> (Came, bool) {
        let began = Arc::new(AtomicBool::new(false));
        let (begins, this) = (began.clone(), self.clone());
        let run = async move {
            let store = this.store.clone();
            this.run(|_| async move {
                begins.store(true, Ordering::SeqCst);
                match ends {
                    Ends::Succeeds => Ok(7),
                    Ends::Fails => Err(Failed::TimedOut),
                    Ends::Panics => panic!("the job's own"),
                    Ends::IsDropped => pending().await,
                    Ends::IsLost => {
                        store.always(Method::Extend, Fault::DOWN);
                        pending().await
                    }
                }
            })
            .await
        };
        let came = match ends {
            Ends::IsDropped => timeout(LEASE / 2, run).await.map_or(Came::Dropped, Came::Back),
            _ => match tokio::spawn(run).await {
                Ok(back) => Came::Back(back),
                Err(error) => {
                    assert!(error.is_panic());
                    Came::Panicked
                }
            },
        };
        // At once: no lease need be over.
        settle_down(&self.handle).await;
        self.store.heal();
        (came, began.load(Ordering::SeqCst))
    }

    /// The next run's answer, and the attempts of which it is told: of the job, of the slot.
    async fn next(&self) -> (Exclusively<u32>, [Option<u32>; 2]) {
        let told = Mutex::new([None; 2]);
        let seen = &told;
        let next = self.run(|attempt| async move {
            let prior = |attempt: &Attempt| attempt.prior().map(|prior| prior.attempt);
            *seen.lock().unwrap() = [prior(&attempt), attempt.slot().and_then(prior)];
            Ok(8)
        });
        let next = next.await.unwrap();
        let told = *told.lock().unwrap();
        (next, told)
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_free_or_lapsed_runs_and_the_next_run_is_told_what_it_must_know() {
    for (found, has_slot) in [(Found::Free, false), (Found::Free, true), (Found::Lapsed, false), (Found::Lapsed, true)]
    {
        for ends in ALL_ENDS {
            let what = format!("{found:?}, {ends:?}, of a slot: {has_slot}");
            let case = Arc::new(Case::new(has_slot));
            case.found(found).await;
            let (came, ran) = case.ends(ends).await;
            assert!(ran, "{what}");
            match (ends, came) {
                (Ends::Succeeds, Came::Back(Ok(Exclusively::Ran(report)))) => {
                    assert_eq!((*report, report.is_replay()), (7, false), "{what}");
                    assert_eq!(report.prior().is_some(), found == Found::Lapsed, "{what}");
                }
                (Ends::Fails, Came::Back(Err(Failed::TimedOut)))
                | (Ends::Panics, Came::Panicked)
                | (Ends::IsDropped, Came::Dropped) => {}
                (Ends::IsLost, Came::Back(Err(Failed::Core(error)))) => {
                    let Error::LockLost { key, why, .. } = error else { panic!("{what}: {error:?}") };
                    assert_eq!((key, why), (job(), LeaseLost::NotRenewed), "{what}");
                }
                (_, came) => panic!("{what}: {came:?}"),
            }
            // Whatever became of it, nobody holds the job's lock now; it is unknown only if it was.
            let status = case.handle.status(&job()).await.unwrap();
            let unknown = found == Found::Lapsed && ends != Ends::Succeeds;
            match status {
                Status::Released { .. } if !unknown => {}
                Status::Unknown { prior, .. } if unknown => assert_eq!(prior.attempt, 1, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
            let (next, told) = case.next().await;
            if has_slot && ends == Ends::Succeeds {
                assert!(matches!(next, Exclusively::AlreadyDone { report: 7, .. }), "{what}: {next:?}");
                continue;
            }
            assert!(matches!(next, Exclusively::Ran(report) if *report == 8), "{what}");
            let mine = if found == Found::Lapsed { 2 } else { 1 };
            // A slot may be half done, unless its run came to an end of its own.
            let of_slot = match ends {
                Ends::Fails => (found == Found::Lapsed).then_some(1),
                Ends::Panics | Ends::IsDropped | Ends::IsLost => Some(mine),
                Ends::Succeeds => None,
            };
            let of_job = unknown.then_some(1);
            let expected = if has_slot { [of_job.or(of_slot), of_slot] } else { [of_job, None] };
            assert_eq!(told, expected, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_or_ran_too_soon_before_is_not_run() {
    for found in [Found::Running, Found::TooSoon] {
        for (ends, has_slot) in ALL_ENDS.iter().flat_map(|ends| [(*ends, false), (*ends, true)]) {
            let what = format!("{found:?}, {ends:?}, of a slot: {has_slot}");
            let case = Arc::new(Case::new(has_slot));
            case.found(found).await;
            let before = case.store.record(&job());
            let (came, ran) = case.ends(ends).await;
            assert!(!ran, "{what}");
            match (found, came) {
                (Found::Running, Came::Back(Ok(Exclusively::Busy { attempt: 1, retry_after }))) => {
                    assert!(retry_after > LEASE / 2 && retry_after <= LEASE, "{what}: {retry_after:?}");
                }
                (Found::TooSoon, Came::Back(Ok(Exclusively::TooSoon { last }))) => {
                    assert_eq!(last.attempt, 1, "{what}");
                    assert!(last.remaining > HOUR / 2 && last.remaining <= HOUR, "{what}: {last:?}");
                }
                (_, came) => panic!("{what}: {came:?}"),
            }
            assert_eq!(case.store.record(&job()), before, "{what}");
            assert_eq!(case.store.record(&slot()), None, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_done_is_not_run_whatever_the_job_does_meanwhile() {
    for meanwhile in [Found::Free, Found::Running, Found::Lapsed, Found::TooSoon] {
        for ends in ALL_ENDS {
            let what = format!("{meanwhile:?}, {ends:?}");
            let case = Arc::new(Case::new(true));
            case.found(Found::SlotDone).await;
            Case { store: case.store.clone(), handle: case.handle.clone(), has_slot: false }.found(meanwhile).await;
            let before = [case.store.record(&job()), case.store.record(&slot())];
            let calls = case.store.calls().len();
            let (came, ran) = case.ends(ends).await;
            assert!(!ran, "{what}");
            let Came::Back(Ok(Exclusively::AlreadyDone { report: 1, origin })) = came else {
                panic!("{what}: {came:?}");
            };
            assert_eq!(origin.attempt, 1, "{what}");
            assert_eq!([case.store.record(&job()), case.store.record(&slot())], before, "{what}");
            assert_eq!(case.store.calls()[calls..], [Method::Get], "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_two_calls_and_one_of_a_slot_five() {
    let case = Case::new(false);
    let _ = case.next().await;
    assert_eq!(case.store.calls(), [Method::Acquire, Method::Release]);
    let case = Case::new(true);
    let _ = case.next().await;
    assert_eq!(case.store.calls(), [Method::Get, Method::Acquire, Method::Acquire, Method::Store, Method::Release]);
}
