//! Purging, counting and listing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{Claim, Clock, Effect, Key, Page, Purged, Snapshot, Stats, Timestamp};

use crate::call::Call;
use crate::conformance::bench::Bench;
use crate::conformance::desk::Desk;
use crate::conformance::failure::{Failure, Outcome};
use crate::conformance::sample::{built, key, value};
use crate::rule::Rule;

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::of(Rule::RowsAreAnswered, format!("upkeep failed: {error}"))
}

fn check(rule: Rule, is_so: bool, text: impl FnOnce() -> String) -> Outcome {
    if is_so { Ok(()) } else { Err(Failure::of(rule, text())) }
}

/// Short and long keys, some with the same beginnings.
fn keys(count: usize) -> Vec<Key> {
    let long = "/%".repeat(100);
    let key = |number: usize| match number % 3 {
        0 => key(format!("{number}")),
        1 => built(Key::new("case", format!("{number}")).part("more").scope("a tenant")),
        _ => built(Key::new("case", &long).part(&long).part(format!("{number}"))),
    };
    (0..count).map(key).collect()
}

async fn purge(bench: &Bench, limit: usize) -> Outcome<Purged> {
    bench.upkeep()?.purge(limit).await.map_err(failed)
}

async fn stats(bench: &Bench) -> Outcome<Stats> {
    bench.upkeep()?.stats().await.map_err(failed)
}

/// A purge removes so many; fewer where they go by themselves.
async fn purges(bench: &Bench, limit: usize, removed: usize, more: bool, after: &str) -> Outcome {
    let found = purge(bench, limit).await?;
    let right = found == Purged { removed, more } || bench.forgets_by_itself() && found.removed <= removed;
    let rule = if found.removed > removed { Rule::NothingIsForgottenEarly } else { Rule::RowsAreAnswered };
    check(rule, right, || {
        format!("purge({limit}) {after} removed {} (more: {}), not {removed} (more: {more})", found.removed, found.more)
    })
}

async fn counts(bench: &Bench, expected: Stats, after: &str) -> Outcome {
    let mut found = stats(bench).await?;
    if bench.forgets_by_itself() && found.expired < expected.expired {
        found.expired = expected.expired;
    }
    // When the oldest began is known exactly only by a clock that the test moves.
    if bench.clock().is_err() && found.oldest.is_some() == expected.oldest.is_some() {
        found.oldest = expected.oldest;
    }
    let live = |stats: Stats| stats.in_progress + stats.unknown + stats.released + stats.completed;
    let rule = if live(found) < live(expected) { Rule::NothingIsForgottenEarly } else { Rule::RowsAreAnswered };
    check(rule, found == expected, || format!("stats {after}\n   found {found:?}\nexpected {expected:?}"))
}

async fn everything(bench: &Bench, page: usize) -> Outcome<Vec<(Key, Snapshot)>> {
    let (mut all, mut after): (Vec<(Key, Snapshot)>, _) = (Vec::new(), None);
    loop {
        let listed = bench.upkeep()?.list(after.as_ref(), page).await.map_err(failed)?;
        let count = listed.records.len();
        check(Rule::RowsAreAnswered, count <= page, || format!("a page of {page} has {count} records"))?;
        all.extend(listed.records);
        let sane = all.len() < 10_000;
        check(Rule::RowsAreAnswered, sane, || format!("by pages of {page}, the listing goes round in circles"))?;
        match listed.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

fn now(bench: &Bench) -> Timestamp {
    bench.clock().map_or(Timestamp::default(), |clock| clock.now())
}

/// So many desks for `keys`, each worked on by `work`, several at a time.
async fn each<F>(bench: &Arc<Bench>, keys: &[Key], work: impl Fn(usize, Desk) -> F) -> Outcome<Vec<Desk>>
where
    F: Future<Output = Outcome<Desk>> + Send + 'static,
{
    bench.at_each(keys.iter().map(|key| bench.desk_of(key.clone())).collect(), work).await
}

pub(crate) async fn purging_removes_the_expired_and_nothing_else(bench: Arc<Bench>) -> Outcome {
    let times = bench.times;
    let keys = keys(60);
    // In real time all of it must be done before the first is forgotten.
    let (soon, later, unknown_retention) = if bench.clock().is_ok() {
        (times.retention / 10, times.retention, times.unknown_retention)
    } else {
        (times.retention * 5, times.retention * 8, times.retention * 20)
    };
    let claim = move |desk: &Desk, retention| Claim { retention, unknown_retention, ..desk.bench.claim(1) };
    let desks = each(&bench, &keys, move |number, mut desk| async move {
        let claim = claim(&desk, if number % 6 == 3 { later } else { soon });
        let lock = desk.granted(&claim).await?.lock;
        match number % 6 {
            // Forgotten soon: completed, released.
            0 | 1 => drop(desk.store(lock, &value("soon"), soon).await?),
            2 => drop(desk.release(lock, Effect::None).await?),
            // Forgotten later: completed, told unknown, lapsed.
            3 => drop(desk.store(lock, &value("later"), later).await?),
            4 => drop(desk.release(lock, Effect::Unknown).await?),
            _ => {}
        }
        Ok(desk)
    })
    .await?;
    purges(&bench, 100, 0, false, "where nothing has expired").await?;
    bench.pass(soon + bench.purged_by()).await;
    let oldest = desks.iter().filter_map(|desk| Some(desk.record()?.acquired_at)).min();
    let left = Stats { completed: 10, unknown: 20, expired: 30, oldest, ..Stats::default() };
    counts(&bench, left, "with half of the records expired").await?;
    let kept = everything(&bench, 1000).await?;
    check(Rule::NothingIsForgottenEarly, kept.len() == 30, || format!("{} of 30 records are listed", kept.len()))?;

    purges(&bench, 12, 12, true, "of 30 that have expired").await?;
    counts(&bench, Stats { expired: 18, ..left }, "after a purge of 12").await?;
    purges(&bench, 100, 18, false, "of the 18 that are left").await?;
    counts(&bench, Stats { expired: 0, ..left }, "after a purge of all").await?;
    let after = everything(&bench, 1000).await?;
    let alike = |one: &[(Key, Snapshot)]| -> Vec<_> {
        one.iter().map(|(key, found)| (key.as_str().to_owned(), found.record.clone())).collect()
    };
    check(Rule::NothingIsForgottenEarly, alike(&after) == alike(&kept), || {
        format!("after a purge\n   listed {after:?}\n   before {kept:?}")
    })?;
    purges(&bench, 100, 0, false, "once more").await?;

    // One that expired, and was begun anew before it was purged, stays.
    bench.pass(later).await;
    let Some(mut again) = desks.into_iter().nth(3) else { return Ok(()) };
    again.look().await?;
    again.complete(&claim(&again, later), &value("again")).await?;
    bench.pass(bench.purged_by()).await;
    purges(&bench, 100, 9, false, "of the 9 results that have expired").await?;
    again.look().await?;

    bench.pass(times.lease + unknown_retention + bench.purged_by()).await;
    purges(&bench, 100, 21, false, "at the end of every retention").await?;
    counts(&bench, Stats::default(), "of an empty store").await
}

pub(crate) async fn statistics_count_each_state(bench: Arc<Bench>) -> Outcome {
    let keys = keys(20);
    let began = now(&bench);
    // In real time, leases that do not run out before they are counted.
    let lease = if bench.clock().is_ok() { bench.times.lease } else { bench.times.lease * 10 };
    let retention = lease * 100;
    for (number, key) in keys.iter().enumerate() {
        let mut desk = bench.desk_of(key.clone());
        let claim = Claim { lease, retention, unknown_retention: retention, ..bench.claim(1) };
        let lock = desk.granted(&claim).await?.lock;
        match number {
            0 => {}
            1..3 => drop(desk.release(lock, Effect::Unknown).await?),
            3..6 => drop(desk.release(lock, Effect::None).await?),
            6..10 => drop(desk.store(lock, &value("kept"), retention).await?),
            10..15 => drop(desk.store(lock, &value("gone"), lease).await?),
            _ => drop(desk.extend(lock, 2 * lease).await?),
        }
        if bench.clock().is_ok() {
            bench.pass(Duration::from_micros(1)).await;
        }
    }
    let live = Stats { in_progress: 6, unknown: 2, released: 3, completed: 9, expired: 0, oldest: Some(began) };
    counts(&bench, live, "of records in every state").await?;
    bench.pass(lease).await;
    let later = Stats { in_progress: 5, unknown: 3, completed: 4, expired: 5, ..live };
    counts(&bench, later, "once a lease and five retentions have ended").await
}

pub(crate) async fn listing_shows_each_key_once(bench: Arc<Bench>) -> Outcome {
    let empty = bench.upkeep()?.list(None, 10).await.map_err(failed)?;
    check(Rule::RowsAreAnswered, empty == Page::default(), || format!("an empty store lists {empty:?}"))?;
    // More than any page of a store's own.
    let keys = keys(900);
    let (short, long) = (bench.times.lease, bench.times.lease * 1000);
    each(&bench, &keys, move |number, mut desk| async move {
        let retention = if number % 10 == 0 { short } else { long };
        desk.ask(&Call::Acquire(Box::new(desk.bench.claim(1)))).await?;
        desk.ask(&Call::Store(desk.last_lock(), value("listed"), retention)).await?;
        Ok(desk)
    })
    .await?;
    bench.pass(short).await;
    let expected: BTreeSet<&str> =
        keys.iter().enumerate().filter(|(number, _)| number % 10 != 0).map(|(_, key)| key.as_str()).collect();
    for page in [1, 7, 270, 809, 810, 811, 5000] {
        let listed = everything(&bench, page).await?;
        let found: BTreeSet<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
        let count = listed.len();
        check(Rule::RowsAreAnswered, count == expected.len() && found == expected, || {
            let (missing, surplus) = (expected.difference(&found).count(), found.difference(&expected).count());
            let repeated = count - found.len();
            format!("by pages of {page}: {missing} keys missing, {surplus} that are not there, {repeated} repeated")
        })?;
        for (key, snapshot) in &listed {
            let mut found = bench.store().get(key).await.map_err(failed)?;
            if let (Some(found), true) = (&mut found, bench.clock().is_err()) {
                found.now = snapshot.now;
            }
            check(Rule::RowsAreAnswered, found.as_ref() == Some(snapshot), || {
                format!("{key} is listed as {snapshot:?}, and `get` shows {found:?}")
            })?;
        }
    }
    Ok(())
}
