//! Recorders whose clock is not the store's.

use std::time::Duration;

use idempotency_core::{Snapshot, StoreErrorKind, Timestamp};
use idempotency_testkit::Answer;
use idempotency_testkit::history::{History, Offset, Timing};

use crate::random::{Dice, Shape, history, micros, seeds};

/// The same history, by a recorder whose clock is behind by so much, and drifts.
fn elsewhere(history: &History, behind: u64, drift: u64, dice: &mut Dice) -> History {
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (at, call) in history.calls().iter().enumerate() {
        events.push((call.sent, at, false));
        events.extend(call.answered.map(|(event, _)| (event, at, true)));
    }
    events.sort_unstable();
    let mut again = History::new();
    let mut ids = vec![None; history.calls().len()];
    for (_, at, is_answer) in events {
        let call = &history.calls()[at];
        let drifted = dice.below(usize::try_from(2 * drift).unwrap() + 1) as u64;
        // The store's times stay as they are; all of the recorder's are earlier.
        let seen = |time: Timestamp| Timestamp::from_micros(time.as_micros() + 10_000 + drifted - drift - behind);
        if is_answer {
            let answer: Result<Answer, StoreErrorKind> = call.answer.clone().unwrap();
            again.answered(ids[at].unwrap(), seen(call.answered.unwrap().1), answer);
        } else {
            let (key, client) = (&history.keys()[call.key], call.client.clone());
            ids[at] = Some(again.sent(key, client, call.call.clone(), seen(call.sent_at)));
        }
    }
    again
}

fn shape(dice: &mut Dice) -> Shape {
    Shape { calls: 20, keys: 1, running: 4, lost: dice.pick(&[0, 8]), exact: false }
}

#[test]
fn a_clock_that_is_known_to_be_behind_and_to_drift_is_allowed_for() {
    let mut rejected = 0;
    for seed in seeds(2_000) {
        let mut dice = Dice(seed);
        let shape = shape(&mut dice);
        let seen = elsewhere(&history(&mut dice, shape), 7_000, 3, &mut dice);
        let timing = Timing { offset: Offset::Known(7_000 - 10_000), skew: micros(3), resolution: Duration::ZERO };
        let checked = seen.clone().with_timing(timing).check();
        checked.unwrap_or_else(|verdict| panic!("IDEMPOTENCY_SEED={seed}\n{verdict}"));
        rejected += usize::from(seen.check().is_err());
    }
    println!("{rejected} rejected if the clocks are taken for one");
    assert!(rejected > 0);
}

#[test]
fn how_far_a_clock_is_behind_is_learned_from_what_most_snapshots_tell() {
    let mut learned = 0;
    for seed in seeds(2_000) {
        let mut dice = Dice(seed);
        let seen = elsewhere(&history(&mut dice, Shape { calls: 30, ..shape(&mut Dice(seed)) }), 7_000, 3, &mut dice);
        let tells = |answer: &Answer| matches!(answer, Answer::Found(Some(_)));
        if !seen.calls().iter().any(|call| matches!(&call.answer, Some(Ok(answer)) if tells(answer))) {
            continue;
        }
        learned += 1;
        let timing = Timing { offset: Offset::Learned, skew: micros(3), resolution: Duration::ZERO };
        let checked = seen.with_timing(timing).check();
        checked.unwrap_or_else(|verdict| panic!("IDEMPOTENCY_SEED={seed}\n{verdict}"));
    }
    assert!(learned > 0);
}

#[test]
fn one_snapshot_with_another_time_than_all_others_is_found() {
    use crate::hand::{Hand, claim, found};
    use idempotency_testkit::{Call, Rule};

    let mut hand = Hand::new();
    hand.granted("a", &claim(1));
    for _ in 0..5 {
        hand.right("b", &Call::Get);
    }
    let told = hand.snapshot();
    hand.wrong("b", &Call::Get, found(Snapshot { now: told.now.plus(Duration::from_secs(3_600)), ..told }));
    let timing = Timing { offset: Offset::Learned, skew: micros(1), resolution: Duration::ZERO };
    let verdict = hand.history.clone().with_timing(timing).check().unwrap_err();
    assert_eq!(verdict.impossible().unwrap().rule(), Rule::TimesAreKept, "{verdict}");
}

#[test]
fn what_was_written_as_lines_is_judged_as_before() {
    use idempotency_core::IdempotencyStore;
    use idempotency_testkit::history::Recording;
    use idempotency_testkit::{Call, ReferenceStore};

    // Every kind of call and answer of a random history, sent to a store and written and read again.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for seed in seeds(20) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let recording = Recording::to_file(file.path()).unwrap();
        let in_memory = Recording::in_memory();
        let store = ReferenceStore::new(idempotency_core::SystemClock::new());
        let store = recording.client("a", in_memory.client("a", store));
        let mut dice = Dice(seed);
        let calls = history(&mut dice, Shape { calls: 60, keys: 2, running: 4, lost: 0, exact: false });
        runtime.block_on(async {
            for call in calls.calls() {
                let key = &calls.keys()[call.key];
                let store: &dyn IdempotencyStore = &store;
                call.call.send(key, store).await.unwrap();
            }
        });
        let (read, kept) = (History::read([file.path()]).unwrap(), in_memory.history());
        assert_eq!(read.calls().len(), kept.calls().len());
        for (read, kept) in read.calls().iter().zip(kept.calls()) {
            let is_plain = !matches!(kept.call, Call::Store(..));
            assert!(!is_plain || format!("{:?}", read.call) == format!("{:?}", kept.call));
            let has_value = |answer: &Answer| format!("{answer:?}").contains("Value(");
            let (Some(Ok(read)), Some(Ok(kept))) = (&read.answer, &kept.answer) else { panic!("all are answered") };
            assert!(has_value(kept) || read == kept, "IDEMPOTENCY_SEED={seed}");
        }
        read.check().unwrap_or_else(|verdict| panic!("IDEMPOTENCY_SEED={seed}\n{verdict}"));
    }
}

#[test]
fn events_of_the_same_microsecond_are_taken_to_have_overlapped() {
    use idempotency_core::{IdempotencyStore, SystemClock};
    use idempotency_testkit::ReferenceStore;
    use idempotency_testkit::history::Recording;

    use crate::hand::{Hand, claim};

    // One writes that it was granted the key; the other, of another store, that it found nothing.
    let folder = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| folder.path().join(name));
    let clients = files
        .each_ref()
        .map(|file| Recording::to_file(file).unwrap().client("client", ReferenceStore::new(SystemClock::new())));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(clients[0].acquire_lock(&Hand::key(), &claim(1))).unwrap();
    runtime.block_on(clients[1].get(&Hand::key())).unwrap();
    for (sent_at, is_possible) in [(5, true), (6, false)] {
        let at = |file: &std::path::Path, times: [u64; 2]| {
            let text = std::fs::read_to_string(file).unwrap();
            let lines = text.lines().zip(times).map(|(line, time)| {
                let begin = line.find("\"at\":").unwrap() + "\"at\":".len();
                let end = begin + line[begin..].find(',').unwrap();
                format!("{}{time}{}\n", &line[..begin], &line[end..])
            });
            std::fs::write(file, lines.collect::<String>()).unwrap();
        };
        at(&files[0], [1, 5]);
        at(&files[1], [sent_at, 9]);
        let timing = Timing { offset: Offset::Known(0), ..Timing::REAL };
        assert_eq!(History::read(&files).unwrap().with_timing(timing).check().is_ok(), is_possible);
    }
}
