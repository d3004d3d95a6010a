//! The order of system calls: an answer comes after the sync of what it says.

use std::collections::HashMap;
use std::time::Duration;

use idempotency_core::{Claim, Error, How, Idempotency, IdempotencyStore, State, Unrecorded};

use crate::common::{durability, key, open, runtime, say};
use crate::trace::{self, Call};
use idempotency_testkit::processes::Program;

const TASKS: u32 = 64;
const STEPS: u32 = 6;

pub(crate) fn add_to(program: &mut Program) {
    program.role("acknowledge", acknowledge);
    program.role("be quiet", be_quiet);
    program.role("be told", be_told);
    program.test("order::every_answer_comes_after_the_sync_of_what_it_says", || {
        let (acknowledged, early) = early_answers("power");
        assert!(
            early.is_empty(),
            "{} of {acknowledged} came too early: {:?}",
            early.len(),
            &early[..early.len().min(9)]
        );
    });
    program.test("order::without_the_sync_every_answer_is_found_to_come_too_early", || {
        let (acknowledged, early) = early_answers("process");
        assert_eq!(early.len(), acknowledged);
    });
    program.test("order::a_replay_on_a_quiet_store_writes_nothing", a_replay_on_a_quiet_store_writes_nothing);
    program.test("order::a_failing_disk_is_told_to_everybody", a_failing_disk_is_told_to_everybody);
}

/// Role: tasks run keys whose locks and results can be recognized in the file, and say at once what
/// they are told, as do others that look on.
fn acknowledge(arguments: &[String]) {
    runtime().block_on(async {
        let store = open(&arguments[0], durability(&arguments[1])).await;
        let handle = Idempotency::new(store.clone());
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (handle, store) = (handle.clone(), store.clone());
            tasks.spawn(async move {
                for step in 0..STEPS {
                    let name = format!("{task}.{step}");
                    let key = key(&name);
                    // One looks at the record, another asks for the same run.
                    let (its_store, its_key, its_name) = (store.clone(), key.clone(), name.clone());
                    let looker = tokio::spawn(async move {
                        let (mut locked, mut done) = (false, false);
                        while !done {
                            let state = its_store.get(&its_key).await.unwrap().map(|found| found.record.state);
                            done = matches!(state, Some(State::Completed { .. }));
                            if state.is_some() && !locked {
                                locked = true;
                                say(&format!("sees <L{its_name}>"));
                            }
                            tokio::task::yield_now().await;
                        }
                        say(&format!("sees <R{its_name}>"));
                    });
                    let (its_handle, its_key, its_name) = (handle.clone(), key.clone(), name.clone());
                    let mark = format!("<L{name}>");
                    let value = format!("<R{name}>");
                    let duplicate = tokio::spawn(async move {
                        while its_handle.store().get(&its_key).await.unwrap().is_none() {
                            tokio::task::yield_now().await;
                        }
                        let never = |_| async { panic!("ran twice") as Result<String, Error> };
                        let replayed =
                            its_handle.call(&its_key).wait(Duration::from_secs(60)).run(never).await.unwrap();
                        assert!(replayed.is_replay());
                        say(&format!("replays <R{its_name}>"));
                    });
                    let run = handle.call(&key).correlation_id(&mark).run(|_| async {
                        say(&format!("locks {mark}"));
                        Ok::<_, Error>(value.clone())
                    });
                    assert!(matches!(run.await.unwrap().how(), How::Executed));
                    say(&format!("ran {value}"));
                    looker.await.unwrap();
                    duplicate.await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
}

/// How many answers were given, and those that came before the sync of what they say.
fn early_answers(safety: &str) -> (usize, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let calls = trace::calls("pwrite64,fdatasync,fsync,write", "acknowledge", folder.path(), safety);
    let syncs: Vec<&Call> = calls.iter().filter(|call| call.is("fdatasync") && call.text.ends_with("= 0")).collect();
    // When each mark first reached the file.
    let mut written: HashMap<&str, usize> = HashMap::new();
    for call in calls.iter().filter(|call| call.is("pwrite64")) {
        for mark in call.marks() {
            let at = written.entry(mark).or_insert(call.end);
            *at = call.end.min(*at);
        }
    }
    let (mut acknowledged, mut early) = (HashMap::<&str, u32>::new(), Vec::new());
    for answer in calls.iter().filter(|call| call.is("write")) {
        let Some(mark) = answer.marks().next() else { continue };
        *acknowledged.entry(answer.text.split([' ', '"']).nth(2).unwrap_or_default()).or_default() += 1;
        let covers = |written: usize| move |sync: &&Call| sync.begin > written && sync.end < answer.begin;
        let synced = written.get(mark).is_some_and(|written| syncs.iter().copied().any(|sync| covers(*written)(&sync)));
        if !synced {
            early.push(answer.text.clone());
        }
    }
    let all = TASKS * STEPS;
    println!("{safety}: {acknowledged:?}, {} syncs", syncs.len());
    assert_eq!(["locks", "ran", "replays"].map(|kind| acknowledged[kind]), [all; 3]);
    assert_eq!(acknowledged["sees"], 2 * all);
    (acknowledged.values().sum::<u32>() as usize, early)
}

/// Role: runs some keys, then does nothing that changes one.
fn be_quiet(arguments: &[String]) {
    runtime().block_on(async {
        let store = open(&arguments[0], durability(&arguments[1])).await;
        let handle = Idempotency::new(store.clone());
        let keys: Vec<_> = (0..50).map(|number| key(&number.to_string())).collect();
        for key in &keys {
            handle.execute_once(key, async { Ok::<_, Error>(key.to_string()) }).await.unwrap().recorded().unwrap();
        }
        let locked = key("locked");
        store.acquire_lock(&locked, &Claim::new(locked.fingerprint())).await.unwrap();
        say("is quiet");
        for _ in 0..10 {
            for key in &keys {
                let never = async { panic!("ran twice") as Result<String, Error> };
                assert!(handle.execute_once(key, never).await.unwrap().is_replay());
                assert!(store.get(key).await.unwrap().is_some());
            }
            store.acquire_lock(&locked, &Claim::new(locked.fingerprint())).await.unwrap();
            assert!(store.get(&key("absent")).await.unwrap().is_none());
        }
        say("was quiet");
        // One that changes something, to see that it would have been noticed.
        handle.execute_once(&key("loud"), async { Ok::<_, Error>(1) }).await.unwrap().recorded().unwrap();
        say("was loud");
    });
}

fn a_replay_on_a_quiet_store_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let names = "write,pwrite64,fdatasync,fsync,sync_file_range";
    let calls = trace::calls(names, "be quiet", folder.path(), "power");
    let at = |said: &str| calls.iter().position(|call| call.is("write") && call.text.contains(said)).unwrap();
    let to_disk = |from: usize, to: usize| {
        let to_disk = ["pwrite64", "fdatasync", "fsync", "sync_file_range"];
        calls[from..to].iter().filter(|call| to_disk.iter().any(|name| call.is(name))).collect::<Vec<_>>()
    };
    let (begun, ended, after) = (at("is quiet"), at("was quiet"), at("was loud"));
    let quiet = to_disk(begun, ended);
    assert!(quiet.is_empty(), "{} calls: {:.300}", quiet.len(), quiet[0].text);
    assert!(to_disk(ended, after).len() >= 4, "a run would not have been noticed");
}

/// Role: tasks run keys until the disk fails; each must be told.
fn be_told(arguments: &[String]) {
    runtime().block_on(async {
        let handle = Idempotency::new(open(&arguments[0], durability(&arguments[1])).await);
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let handle = handle.clone();
            tasks.spawn(async move {
                for step in 0_u32.. {
                    let key = key(&format!("{task}.{step}"));
                    let run = handle.execute_once(&key, async { Ok::<_, Error>("a value".repeat(50)) });
                    let told = match tokio::time::timeout(Duration::from_secs(20), run).await.expect("a hang") {
                        Ok(outcome) => match outcome.into_parts().1 {
                            How::Executed => continue,
                            How::Unrecorded(Unrecorded::Store(error)) => error,
                            other => panic!("{other:?}"),
                        },
                        Err(Error::Store { source, .. }) => source,
                        Err(other) => panic!("{other:?}"),
                    };
                    assert_eq!(told.kind(), idempotency_core::StoreErrorKind::Closed, "{told}");
                    assert!(told.to_string().contains("input/output error"), "{told}");
                    return;
                }
            });
        }
        tasks.join_all().await;
        say("all were told");
    });
}

fn a_failing_disk_is_told_to_everybody() {
    for call in ["fdatasync", "sync_file_range", "pwrite64"] {
        let folder = tempfile::tempdir().unwrap();
        let (trace, fault) = (format!("trace={call}"), format!("inject={call}:error=EIO:when=30"));
        let options = ["-o", "/dev/null", "-e", &trace, "-e", &fault];
        let output = trace::run(&options, "be told", &[&folder.path().join("db")], "power");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("all were told"), "{call}: {said}");
    }
}
