//! Keys that collide where their parts are joined, folded or cut carelessly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{Completion, Key, LONGEST_PART, MOST_ID_PARTS};

use crate::conformance::Capability;
use crate::conformance::bench::Bench;
use crate::conformance::desk::Desk;
use crate::conformance::failure::{Failure, Outcome};
use crate::conformance::sample::{built, value};
use crate::rule::Rule;

/// So long that a busy machine forgets none of them before they are listed.
const UNTIL_LISTED: Duration = Duration::from_secs(3600);

/// A key of parts: scope (none where empty), operation, id.
fn of(parts: &[&str]) -> Key {
    let [scope, operation, first, more @ ..] = parts else { panic!("a key needs a scope, an operation and an id") };
    let key = more.iter().fold(Key::new(operation, first), |key, part| key.part(part));
    built(if scope.is_empty() { key } else { key.scope(scope) })
}

/// Each key is completed with a value of its own, and nobody meets another's.
async fn are_kept_apart(bench: Arc<Bench>, keys: impl IntoIterator<Item = Key>) -> Outcome {
    // Two keys of the same text are one, and no test of anything.
    let keys: BTreeMap<String, Key> = keys.into_iter().map(|key| (key.as_str().to_owned(), key)).collect();
    let desks: Vec<Desk> = keys.values().map(|key| bench.desk_of(key.clone())).collect();
    let acquire = |_, mut desk: Desk| async move {
        let claim = desk.bench.claim(1);
        let grant = desk.granted(&claim).await?;
        desk.expect("a first attempt", grant.attempt == 1)?;
        Ok(desk)
    };
    let desks = bench.at_each(desks, acquire).await.map_err(alike)?;
    let store = |number: usize, mut desk: Desk| async move {
        desk.store(desk.last_lock(), &value(format!("value {number}")), UNTIL_LISTED).await.map(|_| desk)
    };
    let mut desks = bench.at_each(desks, store).await.map_err(alike)?;
    for desk in &mut desks {
        desk.look().await.map_err(alike)?;
        let claim = bench.claim(2);
        desk.acquire(&claim).await.map_err(alike)?;
    }
    if bench.has(Capability::Upkeep) {
        let listed = bench.upkeep()?.list(None, 10_000).await;
        let listed = listed.map_err(|error| Failure::of(Rule::RowsAreAnswered, format!("list failed: {error}")))?;
        let mut found: Vec<String> = listed.records.iter().map(|(key, _)| key.as_str().to_owned()).collect();
        found.sort();
        if !found.iter().eq(keys.keys()) {
            let text = format!("of {} keys, {} are listed: {found:?}", keys.len(), found.len());
            return Err(Failure::of(Rule::NoCrossTalk, text));
        }
    }
    Ok(())
}

/// Whatever goes wrong here is one key met under another's name.
fn alike(failure: Failure) -> Failure {
    match failure.rule() {
        Some(Rule::RequestsEnd | Rule::NoPanic) | None => failure,
        Some(_) => Failure::of(
            Rule::NoCrossTalk,
            format!("two keys that look alike are one, or one of them is cut\n{failure}"),
        ),
    }
}

/// `/ % : | \ .` and whatever else a store may join parts by, in every part, doubled and escaped.
pub(crate) async fn keys_with_separators_in_their_parts_are_kept_apart(bench: Arc<Bench>) -> Outcome {
    let mut keys = Vec::new();
    for separator in
        ["/", "%", ":", "|", "\\", ".", ",", "-", "_", " ", "*", "?", "{", "}", "'", "\"", "\u{2400}", "\u{a0}"]
    {
        let twice = separator.repeat(2);
        for (one, other) in [(separator, "a"), (&twice, "a"), ("a", separator), (separator, separator)] {
            keys.push(of(&["", one, other]));
            keys.push(of(&[one, other, "a"]));
            keys.push(of(&["", "a", one, other]));
            keys.push(of(&["", "a", &format!("{one}{separator}{other}")]));
            keys.push(of(&["", &format!("a{separator}{one}"), other]));
            keys.push(of(&[one, "a", other]));
        }
    }
    for escaped in ["%2F", "%25", "%252F", "%2f", "a%2Fb", "a/b", "a%b", "%00", "\\0", "\\x00", "$", "$1"] {
        keys.extend([of(&["", "op", escaped]), of(&["", escaped, "id"]), of(&[escaped, "op", "id"])]);
    }
    are_kept_apart(bench, keys).await
}

pub(crate) async fn keys_whose_parts_join_to_the_same_text_are_kept_apart(bench: Arc<Bench>) -> Outcome {
    let letters = ["a", "b", "c", "d"];
    let mut keys = Vec::new();
    // Every way of cutting `abcd` into two to five parts, with and without a scope.
    for cuts in 1..8_u32 {
        let mut parts = vec![String::new()];
        for (at, letter) in letters.iter().enumerate() {
            if at > 0 && cuts & (1 << (at - 1)) != 0 {
                parts.push(String::new());
            }
            if let Some(last) = parts.last_mut() {
                last.push_str(letter);
            }
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        keys.push(of(&[&[""], &parts[..]].concat()));
        keys.push(of(&[&["", "op"], &parts[..]].concat()));
        if parts.len() >= 3 {
            keys.push(of(&parts));
        }
    }
    are_kept_apart(bench, keys).await
}

pub(crate) async fn scopes_are_kept_apart_and_none_is_no_scope(bench: Arc<Bench>) -> Outcome {
    let mut keys = vec![of(&["", "op", "id"])];
    for scope in ["op", "id", "a", "A", "none", "null", "None", "0", "default", "-", "_", "*", "%", "/", "''", " "] {
        keys.push(of(&[scope, "op", "id"]));
        keys.push(of(&["", scope, "id"]));
        keys.push(of(&["", "op", scope, "id"]));
    }
    are_kept_apart(bench, keys).await
}

pub(crate) async fn keys_that_differ_in_case_or_spelling_only_are_kept_apart(bench: Arc<Bench>) -> Outcome {
    let mut keys = Vec::new();
    let spelt = [
        // Case, also beyond ASCII; composed and decomposed; compatibility forms; look-alikes; spaces.
        "k",
        "K",
        "\u{212a}",
        "\u{e9}",
        "e\u{301}",
        "\u{c9}",
        "E\u{301}",
        "\u{df}",
        "ss",
        "SS",
        "\u{1e9e}",
        "\u{130}",
        "i",
        "I",
        "\u{131}",
        "\u{fb01}",
        "fi",
        "\u{2460}",
        "1",
        "\u{ff11}",
        "\u{430}",
        "a",
        "\u{212b}",
        "\u{c5}",
        "A\u{30a}",
        "x",
        "x ",
        " x",
        "x\u{200b}",
        "x\u{ad}",
        "\u{1f600}",
        "\u{10ffff}",
        "01",
        "1.0",
        "1e0",
        "0x1",
        "true",
    ];
    for part in spelt {
        keys.extend([of(&["", "op", part]), of(&["", part, "id"]), of(&[part, "op", "id"])]);
    }
    are_kept_apart(bench, keys).await
}

/// To either side of the lengths at which a store may cut, hash or reject a name.
pub(crate) async fn long_keys_are_kept_apart_to_their_last_byte(bench: Arc<Bench>) -> Outcome {
    let (full, slashes) = ("k".repeat(LONGEST_PART), "/".repeat(LONGEST_PART));
    let snowmen = "\u{2603}".repeat(LONGEST_PART / 3);
    let mut keys = Vec::new();
    for filler in [&*full, &slashes, &snowmen] {
        for parts in 1..=MOST_ID_PARTS {
            let filled = vec![filler; parts - 1];
            let long = |scope: &'static str, last: &str| of(&[&[scope, filler], &filled[..], &[last]].concat());
            keys.extend([long("", filler), long("", "other"), long("scope", filler), long("scope", "other")]);
            for end in ['0', '1'] {
                let last = format!("{}{end}", &full[1..]);
                keys.push(of(&[&[filler, filler], &filled[..], &[&last]].concat()));
            }
        }
    }
    // Whole texts of about 64, 128, 255, 512 and 1,024 bytes.
    for about in [64, 128, 255] {
        for length in about - 10..=about {
            keys.push(of(&["", "case", &"k".repeat(length)]));
        }
    }
    for (about, parts) in [(512, 2), (1024, 4)] {
        for length in about / parts - 4..=(about / parts + 1).min(LONGEST_PART) {
            let part = "k".repeat(length);
            keys.push(of(&[&["", "case"], &vec![&*part; parts][..]].concat()));
        }
    }
    are_kept_apart(bench, keys).await
}

pub(crate) async fn keys_that_begin_alike_are_kept_apart(bench: Arc<Bench>) -> Outcome {
    let mut keys = Vec::new();
    for length in 1..24 {
        let id = "a".repeat(length);
        keys.extend([of(&["", "op", &id]), of(&["", &id, "id"]), of(&[&id, "op", "id"]), of(&["", "op", "id", &id])]);
    }
    for (one, other) in [("a", "a%"), ("a/b", "a%2Fb"), ("b", "bb"), ("r", "R"), ("c", "x"), ("mfence", "fence")] {
        for part in [one, other] {
            keys.push(of(&["", "case", part]));
        }
        keys.extend([of(&["", "case", one, other]), of(&["", "case", other, one])]);
    }
    are_kept_apart(bench, keys).await
}

/// A value under one key never shows under another that is deleted, forgotten or completed beside it.
pub(crate) async fn neighbours_are_not_touched_by_what_becomes_of_a_key(bench: Arc<Bench>) -> Outcome {
    let mut left = bench.desk_of(of(&["t", "op", "1"]));
    let mut key = bench.desk_of(of(&["t", "op", "1", "2"]));
    let mut right = bench.desk_of(of(&["t", "op", "12"]));
    left.complete(&bench.claim(1), &value("left")).await?;
    right.complete(&bench.claim(1), &Completion::Omitted(idempotency_core::Omitted::ByChoice)).await?;
    for owner in 1..4 {
        let lock = key.granted(&bench.claim(owner)).await?.lock;
        key.release(lock, idempotency_core::Effect::None).await?;
        left.look().await?;
        right.look().await?;
    }
    key.complete(&bench.claim(9), &value("key")).await?;
    for desk in [&mut left, &mut right, &mut key] {
        desk.look().await?;
    }
    Ok(())
}
