//! The moves in Lua, each one script over one key: they say what
//! [`moves`](idempotency_core::moves) say, and the conformance suite holds them to it.

use std::sync::LazyLock;

use redis::{Cmd, Script};

/// A script, and how the server knows it.
#[derive(Debug)]
pub(crate) struct Move {
    text: String,
    digest: String,
}

/// What ends or shortens what is there may go on when the server is over its memory limit.
const ALSO_WHEN_FULL: &str = "#!lua flags=allow-oom\n";
const ONLY_READS: &str = "#!lua flags=no-writes\n";
const NOT_WHEN_FULL: &str = "#!lua\n";

macro_rules! one_key {
    ($flags:expr, $file:literal) => {
        LazyLock::new(|| Move::new([$flags, include_str!("scripts/head.lua"), include_str!($file)].concat()))
    };
}

pub(crate) static GET: LazyLock<Move> = one_key!(ONLY_READS, "scripts/get.lua");
pub(crate) static ACQUIRE: LazyLock<Move> = one_key!(NOT_WHEN_FULL, "scripts/acquire.lua");
/// Acquires a key that is there: what it needs no room for goes on when the server is full.
pub(crate) static ACQUIRE_AGAIN: LazyLock<Move> = LazyLock::new(|| {
    let only_known = "if not known then return redis.error_reply('OOM there is no room for a new key') end\n";
    let parts = [ALSO_WHEN_FULL, include_str!("scripts/head.lua"), only_known, include_str!("scripts/acquire.lua")];
    Move::new(parts.concat())
});
pub(crate) static EXTEND: LazyLock<Move> = one_key!(ALSO_WHEN_FULL, "scripts/extend.lua");
pub(crate) static STORE: LazyLock<Move> = one_key!(NOT_WHEN_FULL, "scripts/store.lua");
pub(crate) static STORE_FACT: LazyLock<Move> = one_key!(ALSO_WHEN_FULL, "scripts/store.lua");
pub(crate) static RELEASE: LazyLock<Move> = one_key!(ALSO_WHEN_FULL, "scripts/release.lua");
/// Completes what is certainly in progress, of many keys at once.
pub(crate) static COMPLETE: LazyLock<Move> =
    LazyLock::new(|| Move::new(include_str!("scripts/complete.lua").to_owned()));

impl Move {
    fn new(text: String) -> Self {
        Self { digest: Script::new(&text).get_hash().to_owned(), text }
    }

    /// The command that runs it, by its digest or, where the server has forgotten it, by its text.
    pub(crate) fn command(&self, by_text: bool, keys: usize) -> Cmd {
        let mut command = Cmd::new();
        if by_text {
            command.arg("EVAL").arg(&self.text);
        } else {
            command.arg("EVALSHA").arg(&self.digest);
        }
        command.arg(keys);
        command
    }
}
