//! A disk that is full: an error for everybody, soon, and nothing that was acknowledged is lost.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use idempotency_core::{Error, How, Idempotency, StoreError, StoreErrorKind, Unrecorded};
use idempotency_store_sled::{Durability, SledStore, SledStoreConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::{key, open, runtime, say, whole};
use idempotency_testkit::processes::{Program, role};

const TASKS: u32 = 64;
/// What every call must have ended in, whatever the disk does.
const SOON: Duration = Duration::from_secs(30);

pub(crate) fn add_to(program: &mut Program) {
    program.role("fill up", fill_up);
    program.test("shortage::a_full_disk_is_told_and_loses_nothing", a_full_disk_is_told_and_loses_nothing);
}

/// A role under a limit for the size of a file, which works as a full disk does and needs no rights:
/// a limit may always be lowered, and an ignored signal stays ignored.
fn with_room(name: &str, kib: u32) -> Command {
    let role = role(name);
    let mut command = Command::new("sh");
    // POSIX counts in blocks of 512 bytes, bash in 1024.
    let script = r#"trap "" XFSZ; if [ -n "$BASH_VERSION" ] && ! shopt -qo posix; then u=1; else u=2; fi
        ulimit -S -f $((ROOM * u)) && exec "$0" "$@""#;
    command.args(["-c", script]).arg(role.get_program()).args(role.get_args()).env("ROOM", kib.to_string());
    command
}

fn value(task: u32, step: u32) -> String {
    format!("{task}.{step} ").repeat(400)
}

fn name(task: u32, step: u32) -> String {
    format!("{task}.{step}")
}

/// The store's error says that there is no room.
#[track_caller]
fn full(error: &StoreError) -> &'static str {
    let text = error.to_string();
    assert!(!error.is_passing(), "{text}");
    assert!(text.contains("no room"), "{text}");
    assert!(text.contains("free some space"), "{text}");
    match error.kind() {
        StoreErrorKind::Closed => "closed",
        StoreErrorKind::Full => "full",
        other => panic!("{other:?}: {text}"),
    }
}

/// Role: tasks run keys until the disk is full; then there is room again, in the same process.
fn fill_up(arguments: &[String]) {
    let folder = Path::new(&arguments[0]);
    let config = SledStoreConfig::new(folder).with_stall_limit(Duration::from_secs(10));
    let mut recorded = Vec::new();
    runtime().block_on(async {
        match SledStore::open(config.clone()).await {
            Ok(store) => recorded = fill(Idempotency::new(store)).await,
            Err(error) => say(&format!("open {}", full(&error))),
        }
    });

    // As before: what is full stays so until there is room.
    if let Ok(store) = runtime().block_on(SledStore::open(config.clone())) {
        let handle = Idempotency::new(store);
        recorded.extend(runtime().block_on(fill(handle)));
    }
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
    runtime().block_on(async {
        let store = SledStore::open(config).await.unwrap();
        let handle = Idempotency::new(store);
        verify(&handle, &recorded).await;
        handle.execute_once(&key("later"), async { Ok::<_, Error>(1) }).await.unwrap().recorded().unwrap();
    });
    say("reopened");
}

/// Runs until each task has met the full disk. The keys that are recorded.
async fn fill(handle: Idempotency) -> Vec<(u32, u32)> {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let handle = handle.clone();
        tasks.spawn(async move {
            let mut recorded = Vec::new();
            for step in 0_u32.. {
                let operation = async { Ok::<_, Error>(value(task, step)) };
                let key = key(&name(task, step));
                match tokio::time::timeout(SOON, handle.execute_once(&key, operation)).await.expect("a hang") {
                    Ok(outcome) => {
                        assert!(*outcome == value(task, step), "not its own value");
                        match outcome.how() {
                            How::Executed | How::Replayed(_) => {
                                say(&format!("recorded {task} {step}"));
                                recorded.push((task, step));
                            }
                            How::Unrecorded(Unrecorded::Store(error)) => {
                                say(&format!("unrecorded {}", full(error)));
                                break;
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    Err(Error::Store { source, .. }) => {
                        say(&format!("refused {}", full(&source)));
                        break;
                    }
                    // An earlier filling left it.
                    Err(Error::InProgress { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            recorded
        });
    }
    let recorded = tasks.join_all().await.into_iter().flatten().collect();
    // Closed for good, for reading as well.
    let late = handle.status(&key("late")).await.unwrap_err();
    assert_eq!(full(&late), "closed");
    handle.drain(SOON).await.unwrap();
    let begun = Instant::now();
    drop(handle);
    assert!(begun.elapsed() < SOON, "dropping the store hangs");
    recorded
}

async fn verify(handle: &Idempotency, recorded: &[(u32, u32)]) {
    for (task, step) in recorded {
        let never = async { Ok::<_, Error>("ran again".to_owned()) };
        let found = handle.execute_once(&key(&name(*task, *step)), never).await.unwrap();
        assert!(found.is_replay() && *found == value(*task, *step), "{task}.{step} is lost");
    }
}

fn a_full_disk_is_told_and_loses_nothing() {
    let mut kinds = std::collections::BTreeMap::<String, u32>::new();
    for room in [0, 100, 512, 600, 1030, 1500, 2000, 2048, 3000, 4001, 5555] {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("db");
        let output = with_room("fill up", room).arg(&database).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{room} KiB: {}\n{errors}", output.status);
        assert!(!errors.contains("a hang"), "{errors}");
        let said: Vec<&str> = text.lines().filter_map(whole).collect();
        assert_eq!(said.last(), Some(&"reopened"), "{room} KiB");
        let (mut recorded, mut ends) = (Vec::new(), 0);
        for line in &said {
            match line.strip_prefix("recorded ").and_then(|numbers| numbers.split_once(' ')) {
                Some((task, step)) => recorded.push((task.parse().unwrap(), step.parse().unwrap())),
                None => {
                    *kinds.entry((*line).to_owned()).or_default() += 1;
                    ends += u32::from(line.starts_with("unrecorded ") || line.starts_with("refused "));
                }
            }
        }
        assert!(said.contains(&"open full") || (ends >= TASKS && ends % TASKS == 0), "{room} KiB: {ends} ends");
        // In another process, too.
        runtime().block_on(async {
            let handle = Idempotency::new(open(&database, Durability::Power).await);
            verify(&handle, &recorded).await;
        });
        *kinds.entry("recorded".to_owned()).or_default() += recorded.len() as u32;
    }
    println!("{kinds:?}");
    for kind in ["open full", "refused closed", "unrecorded closed", "recorded"] {
        assert!(kinds.contains_key(kind), "`{kind}` never happened: {kinds:?}");
    }
}
