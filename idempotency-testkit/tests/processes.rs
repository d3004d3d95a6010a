//! A history that many processes write, some of them killed, and that is put together from their files.
//!
//! This program is its own harness: run with `--role` it plays another process's part.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic, in its helpers too")]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Fingerprint, Grant, Guarantees, Held, IdempotencyStore, Key, Lock,
    Record, Snapshot, StoreError, StoreErrorKind, Timestamp, Watch, envelope,
};
use idempotency_testkit::Rule;
use idempotency_testkit::history::{History, Recording, Verdict};

/// Records in the files of a folder, one a key, which any process changes under one lock.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
}

impl Shared {
    fn make<A>(
        &self,
        key: &Key,
        operation: &'static str,
        make: impl FnOnce(Option<&Record>, Timestamp, Fence) -> Move<A>,
    ) -> Result<A, StoreError> {
        let failed = |error: io::Error| StoreError::new(StoreErrorKind::InDoubt, operation).with_source(error);
        // A killed process lets go of it.
        let lock = File::options().write(true).create(true).truncate(false).open(self.folder.join("lock"));
        let lock = lock.map_err(failed)?;
        lock.lock().map_err(failed)?;
        let path = self.folder.join(key.as_str().replace('/', "_"));
        let kept = match fs::read(&path) {
            Ok(bytes) => Some(envelope::decode(key, &bytes).unwrap()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let now = Timestamp::from(SystemTime::now());
        let Move { answer, write } = make(kept.as_ref(), now, Fence::new(now.as_micros()));
        if let Some(record) = write {
            // Whole or not at all, wherever it is killed.
            let new = path.with_extension("new");
            fs::write(&new, envelope::encode(key, &record)).map_err(failed)?;
            fs::rename(&new, &path).map_err(failed)?;
        }
        Ok(answer)
    }
}

#[async_trait]
impl IdempotencyStore for Shared {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.make(key, "get", |kept, now, _| Move {
            answer: moves::read(kept, now).map(|record| Snapshot { record: record.clone(), now }),
            write: None,
        })
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        self.make(key, "acquire_lock", |kept, now, next_fence| moves::acquire(kept, claim, now, next_fence))
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.make(key, "extend_lock", |kept, now, _| moves::extend(kept, *lock, lease, now))
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.make(key, "store_result", |kept, now, _| moves::store(kept, *lock, result, retention, now))
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.make(key, "release_lock", |kept, now, _| moves::release(kept, *lock, effect, now))
    }

    fn watch(&self, _key: &Key) -> Watch {
        Watch::never()
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        Ok(Guarantees::none("shared folder"))
    }
}

const KEYS: usize = 4;
const NEVER: usize = usize::MAX;

/// A client: claims, extends, stores and releases, so many times.
async fn client(folder: &Path, name: &str, rounds: usize) {
    let recording = Recording::to_file(folder.join(name).with_extension("history")).unwrap();
    let store = recording.client(name, Shared { folder: folder.into() });
    for round in 0..rounds {
        let key = Key::new("shared", (round % KEYS).to_string()).build().unwrap();
        let claim = Claim {
            lease: Duration::from_millis(40),
            retention: Duration::from_millis(60),
            unknown_retention: Duration::from_secs(20),
            ..Claim::new(Fingerprint::NONE)
        };
        match store.acquire_lock(&key, &claim).await.unwrap() {
            Acquired::Acquired(Grant { lock, .. }) => {
                store.extend_lock(&key, &lock, claim.lease).await.unwrap();
                if round % 3 == 0 {
                    store.release_lock(&key, &lock, Effect::None).await.unwrap();
                } else {
                    let value = Completion::Value(Bytes::from(format!("{name} {round}")));
                    store.store_result(&key, &lock, &value, claim.retention).await.unwrap();
                }
            }
            _ => drop(store.get(&key).await.unwrap()),
        }
    }
}

fn start(folder: &Path, name: &str, rounds: usize) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(program).arg("--role").arg(folder).args([name, &rounds.to_string()]).spawn().unwrap()
}

/// Waits until a client has written so much.
fn has_written(folder: &Path, name: &str, bytes: u64) {
    let path = folder.join(name).with_extension("history");
    while fs::metadata(&path).map_or(0, |file| file.len()) < bytes {
        std::thread::yield_now();
    }
}

/// Six processes of which three are killed in the middle, and two that meet what they left.
fn recorded(folder: &Path) -> Vec<PathBuf> {
    let mut killed: Vec<Child> = ["k0", "k1", "k2"].map(|name| start(folder, name, NEVER)).into();
    let mut others: Vec<Child> = ["a", "b", "c"].map(|name| start(folder, name, 150)).into();
    for (at, child) in killed.iter_mut().enumerate() {
        has_written(folder, &format!("k{at}"), 40_000);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    others.extend(["d", "e"].map(|name| start(folder, name, 150)));
    for child in &mut others {
        assert!(child.wait().unwrap().success());
    }
    let files = ["k0", "k1", "k2", "a", "b", "c", "d", "e"];
    files.map(|name| folder.join(name).with_extension("history")).into()
}

fn what_many_processes_saw_is_possible_and_no_longer_so_with_one_other_value() {
    let folder = tempfile::tempdir().unwrap();
    let files = recorded(folder.path());
    let checked = History::read(&files).unwrap().check().unwrap_or_else(|verdict| panic!("{verdict}"));
    println!("{checked:?}");
    assert!(checked.keys == KEYS && checked.calls > 1_500);

    let told = "\"Value\":[";
    let spoilt = files.iter().any(|file| {
        let text = fs::read_to_string(file).unwrap();
        let Some(answer) = text.find("\"Completed\":{\"record\"") else { return false };
        let digest = answer + text[answer..].find(told).unwrap() + told.len();
        let digit = digest + text[digest..].find('"').unwrap() + 1;
        let other = if text[digit..].starts_with('0') { "1" } else { "0" };
        fs::write(file, format!("{}{other}{}", &text[..digit], &text[digit + 1..])).unwrap();
        true
    });
    assert!(spoilt, "somebody met a completed key");
    match History::read(&files).unwrap().check() {
        Err(Verdict::Impossible(impossible)) => assert_eq!(impossible.rule(), Rule::ResultsDoNotChange, "{impossible}"),
        other => panic!("{other:?}"),
    }
}

fn a_line_that_its_writer_was_killed_in_is_left_out_and_any_other_damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(client(folder.path(), "a", 8));
    let file = folder.path().join("a.history");
    let whole = fs::read_to_string(&file).unwrap();
    let calls = History::read([&file]).unwrap().check().unwrap().calls;
    assert_eq!(calls * 2, whole.lines().count());
    fs::write(&file, &whole[..whole.len() - 20]).unwrap();
    let checked = History::read([&file]).unwrap().check().unwrap();
    assert_eq!((checked.calls, checked.unanswered), (calls, 1));
    for (text, problem) in [
        (format!("{{}}\n{whole}"), "line 1 of"),
        (format!("{whole}{whole}"), "two calls have one id"),
        (whole.lines().nth(1).unwrap().to_owned() + "\n", "an answer to no open call"),
    ] {
        fs::write(&file, text).unwrap();
        let error = History::read([&file]).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    assert!(History::read([folder.path().join("none")]).unwrap_err().to_string().contains("could not be read"));
}

type Test = (&'static str, fn());

const TESTS: [Test; 2] = [
    (
        "what_many_processes_saw_is_possible_and_no_longer_so_with_one_other_value",
        what_many_processes_saw_is_possible_and_no_longer_so_with_one_other_value,
    ),
    (
        "a_line_that_its_writer_was_killed_in_is_left_out_and_any_other_damage_is_told",
        a_line_that_its_writer_was_killed_in_is_left_out_and_any_other_damage_is_told,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, folder, name, rounds] = &arguments[..]
        && role == "--role"
    {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(client(Path::new(folder), name, rounds.parse().unwrap()));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in TESTS {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
        } else if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            // A panic ends the program, with what went wrong on stderr.
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}
