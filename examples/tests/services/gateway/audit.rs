//! The audit log cannot be written, and what then: nothing is done, and nothing answered, that is not in it.

#![cfg(unix)]

use std::path::Path;

use idempotency_examples::audit::{Done, Entry};
use idempotency_examples::client::{self, Reply};
use idempotency_examples::journal;
use idempotency_examples::process::Process;
use serde_json::json;
use tempfile::TempDir;

use super::{API_KEY, GATEWAY, PATH, PAYMENTS, assert_problem, id, is_replay, pay, payment};
use crate::support::Service;

/// Starts a program whose files have no more than so many blocks of 512 bytes, as if the disk were full then: that holds
/// for root, too. Written past it, a file fails, where the signal that would end the program is ignored.
const LIMITED: &str = "trap '' XFSZ && ulimit -f 128 && exec \"$0\" \"$@\"";
const LIMIT: usize = 128 * 512;

/// A gateway whose audit log has room for so many bytes.
struct Limited {
    process: Process,
    folder: TempDir,
}

impl Limited {
    async fn start(provider: &Service, room: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |text: String| {
            let entry = json!({ "at": "", "actor": "", "action": "", "done": "begun", "outcome": text });
            format!("{entry}\n")
        };
        let full = line("x".repeat(LIMIT - room - line(String::new()).len()));
        std::fs::write(folder.path().join("audit.jsonl"), full).expect("it can be written");
        let (sh, log) = (Path::new("/bin/sh"), folder.path().join("log.txt"));
        let provider = provider.provider().to_string();
        let args = ["-c", LIMITED, PATH, "--provider", &provider, "--folder"].map(Into::into);
        let args = args.into_iter().chain([folder.path().into()]);
        let process = Process::of(sh, args, Some("memory:"), &log).await.expect("a gateway");
        Self { process, folder }
    }

    async fn pay(&self, key: &str) -> Reply {
        let ask = client::post(self.process.address, PAYMENTS, &payment(5)).header("x-api-key", API_KEY);
        ask.header("idempotency-key", key).send().await.expect("an answer")
    }

    /// Makes room, as the test may: nothing fails to be written after it.
    fn make_room(&self) {
        std::fs::write(self.folder.path().join("audit.jsonl"), "").expect("it can be written");
    }

    fn audit(&self) -> Vec<Done> {
        let entries: Vec<Entry> = journal::read(&self.folder.path().join("audit.jsonl")).expect("a journal");
        entries.into_iter().map(|entry| entry.done).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_in_the_audit_log_is_neither_done_nor_answered() {
    let other = GATEWAY.start(None).await;
    assert_eq!(pay(&other, "k", 5).await.status, 201);
    let lines: Vec<usize> = super::audit(&other).iter().map(|entry| json!(entry).to_string().len() + 1).collect();
    let [begun, ended] = lines[..] else { panic!("{lines:?}") };
    let charges = || other.ledger().len() - 1;

    // Not even what is to be done.
    let gateway = Limited::start(&other, begun / 2).await;
    let refused = gateway.pay("not-begun").await;
    assert_problem(&refused, 500, "audit");
    assert_eq!((refused.header("idempotency-status"), charges()), (Some("unknown"), 0));
    gateway.make_room();
    assert_eq!(gateway.pay("not-begun").await.status, 201);
    assert_eq!((gateway.audit(), charges()), (vec![Done::Begun, Done::AfterUnknown], 1));

    // What is done, and not that it was: the answer is not recorded, and the retry, which cannot be noted either,
    // does nothing.
    let gateway = Limited::start(&other, begun + ended / 2).await;
    for _ in 0..2 {
        let refused = gateway.pay("not-ended").await;
        assert_problem(&refused, 500, "audit");
        assert_eq!((refused.header("idempotency-status"), charges()), (Some("unknown"), 2));
    }
    gateway.make_room();
    let paid = gateway.pay("not-ended").await;
    assert_eq!((id(&paid), is_replay(&paid)), (other.ledger()[2].id.clone(), false));
    assert_eq!((gateway.audit(), charges()), (vec![Done::Begun, Done::AfterUnknown], 2));

    // All but that it is answered again.
    let gateway = Limited::start(&other, begun + ended + begun / 2).await;
    let paid = gateway.pay("not-told-again").await;
    let refused = gateway.pay("not-told-again").await;
    assert_problem(&refused, 500, "audit");
    assert!(!String::from_utf8_lossy(&refused.body).contains(&id(&paid)), "{refused:?}");
    gateway.make_room();
    let again = gateway.pay("not-told-again").await;
    assert_eq!((id(&again), is_replay(&again), charges()), (id(&paid), true, 3));
    assert_eq!(gateway.audit(), [Done::Replay]);
}

#[tokio::test]
async fn an_audit_log_that_cannot_be_opened_is_told_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("audit.jsonl")).expect("a folder where the log should be");
    let args = ["--folder".into(), folder.path().into(), "--provider".into(), "127.0.0.1:9".into()];
    let log = folder.path().join("log.txt");
    let refused = Process::of(Path::new(PATH), args, None, &log).await.expect_err("it does not start");
    assert!(refused.contains("audit.jsonl") && refused.contains("name a place that can be written"), "{refused}");
}
