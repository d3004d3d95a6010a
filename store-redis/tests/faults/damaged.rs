//! Keys under the prefix that hold something else than a record.

use std::time::Duration;

use idempotency_core::{Effect, Fence, IdempotencyStore, Lock, Owner, StoreErrorKind};
use idempotency_testkit::servers::{RedisServer, Reply};

use crate::support::{all_of, assert_error, claim, key, name, nothing_runs, open, runtime, server, value};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Nothing is done with what is under this key, and it stays as it is.
fn is_told(server: &RedisServer, id: &str, words: &[&str]) {
    let runtime = runtime();
    let store = open(&runtime, server);
    let key = key(id);
    let dump = || server.command(&["OBJECT", "ENCODING", &name(&key)]).unwrap();
    let before = dump();
    let lock = Lock { owner: Owner::from_u128(1), fence: Fence::new(1) };
    runtime.block_on(async {
        // Once before the server's time is known and once after: two ways to ask.
        for _ in 0..2 {
            assert_error(&store.acquire_lock(&key, &claim()).await.unwrap_err(), StoreErrorKind::Damaged, words);
            assert_error(&store.get(&key).await.unwrap_err(), StoreErrorKind::Damaged, words);
        }
        let error = store.store_result(&key, &lock, &value(b"v"), DAY).await.unwrap_err();
        assert_error(&error, StoreErrorKind::Damaged, words);
        let error = store.extend_lock(&key, &lock, DAY).await.unwrap_err();
        assert_error(&error, StoreErrorKind::Damaged, words);
        for effect in [Effect::None, Effect::Unknown, Effect::Settled] {
            let error = store.release_lock(&key, &lock, effect).await.unwrap_err();
            assert_error(&error, StoreErrorKind::Damaged, words);
            assert!(!all_of(&error).contains("card 4242"), "{}", all_of(&error));
        }
    });
    let error = nothing_runs(&runtime, &store, &key);
    assert_error(&error, StoreErrorKind::Damaged, words);
    assert!(!all_of(&error).contains("card 4242"), "{}", all_of(&error));
    assert_eq!(dump(), before);
}

#[test]
fn a_list() {
    let server = server();
    server.command(&["RPUSH", &name(&key("list")), "card 4242"]).unwrap();
    is_told(&server, "list", &["another type than a string"]);
    let kept = server.command(&["LRANGE", &name(&key("list")), "0", "-1"]).unwrap();
    assert_eq!(kept, Reply::Array(vec![Reply::Text("card 4242".into())]));
}

#[test]
fn a_string_of_somebody_else() {
    let server = server();
    for (id, text) in
        [("empty", ""), ("short", "1"), ("long", "card 4242 of somebody, who has no lock on it, was charged")]
    {
        server.command(&["SET", &name(&key(id)), text]).unwrap();
        let bytes = format!("{} bytes that are no record", text.len());
        is_told(&server, id, &[&bytes, "something else writes"]);
        assert_eq!(server.command(&["GET", &name(&key(id))]).unwrap(), Reply::Text(text.into()));
    }
}

#[test]
fn a_record_that_is_cut_off() {
    let server = server();
    let runtime = runtime();
    let store = open(&runtime, &server);
    let whole = key("whole");
    let lock = runtime.block_on(crate::support::acquired(&store, &whole)).lock;
    for (state, length) in [("in progress", 4), ("in progress", 5), ("in progress", 60), ("in progress", 90)] {
        let id = format!("{state} {length}");
        let cut = format!("redis.call('SET', KEYS[2], string.sub(redis.call('GET', KEYS[1]), 1, {length})) return 1");
        server.command(&["EVAL", &cut, "2", &name(&whole), &name(&key(&id))]).unwrap();
        is_told(&server, &id, &[]);
    }
    runtime.block_on(store.store_result(&whole, &lock, &value(b"v"), DAY)).unwrap();
}

/// What comes of a claim after the record of an unknown, completed or still running attempt, `r`, was
/// changed by some Lua: nobody gets its lock.
fn nobody_acquires(state: &str, change: &str) {
    let (runtime, server) = (runtime(), server());
    let (store, other) = (open(&runtime, &server), open(&runtime, &server));
    runtime.block_on(async {
        let key = key("changed");
        let lock = crate::support::acquired(&store, &key).await.lock;
        match state {
            "unknown" => drop(store.release_lock(&key, &lock, Effect::Unknown).await.unwrap()),
            "completed" => drop(store.store_result(&key, &lock, &value(b""), DAY).await.unwrap()),
            _ => {}
        }
        let script = format!("local r = redis.call('GET', KEYS[1])\n{change}\nreturn 1");
        server.command(&["EVAL", &script, "1", &name(&key)]).unwrap();
        for _ in 0..2 {
            let answer = other.acquire_lock(&key, &claim()).await;
            assert!(answer.is_err(), "{state}, {change}: {answer:?}");
        }
    });
}

#[test]
fn a_record_that_was_tampered_with() {
    let set = |record: &str| format!("redis.call('SET', KEYS[1], {record}, 'KEEPTTL')");
    nobody_acquires("unknown", &set("string.sub(r, 1, 29)..'\\0'..string.sub(r, 31, 85)..string.sub(r, 115)"));
    nobody_acquires("completed", &set("string.sub(r, 1, 85)..string.rep('\\0', 8)..string.sub(r, 94)"));
    nobody_acquires("unknown", &set("string.sub(r, 1, 4)..'X'..string.sub(r, 6)"));
    // Its expiry tells the end of its lease.
    nobody_acquires("running", "redis.call('PERSIST', KEYS[1])");
}
