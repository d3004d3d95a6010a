//! The story, told by the program itself.

use std::process::{Command, Output, Stdio};

fn tell(store: Option<&str>) -> (Output, String) {
    let mut story = Command::new(env!("CARGO_BIN_EXE_payments"));
    story.arg("--story").env_remove("IDEMPOTENCY_STORE").stdin(Stdio::null());
    if let Some(store) = store {
        story.args(["--store", store]);
    }
    let output = story.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[track_caller]
fn assert_all_right(store: Option<&str>, closing: &str) {
    let (output, text) = tell(store);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().last(), Some(closing), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");
}

#[test]
fn every_act_goes_right_on_sled() {
    let closing = "All 18 acts went right: 10 payments, 10 charges; 6 refunds, 6 paid back.";
    assert_all_right(None, closing);
}

#[test]
fn a_store_that_forgets_leaves_one_act_out_and_says_so() {
    let closing = "All 16 acts went right (2 left out): 6 payments, 6 charges; 6 refunds, 6 paid back.";
    assert_all_right(Some("memory:"), closing);
}

#[cfg(unix)]
#[test]
fn every_act_goes_right_on_redis() {
    let server = idempotency_testkit::servers::Redis::shared().expect("a server");
    let closing = "All 18 acts went right: 10 payments, 10 charges; 6 refunds, 6 paid back.";
    assert_all_right(Some(&server.url()), closing);
}

#[cfg(unix)]
#[test]
fn every_act_goes_right_on_postgres() {
    let server = idempotency_testkit::servers::Postgres::shared().expect("a server");
    let closing = "All 18 acts went right: 10 payments, 10 charges; 6 refunds, 6 paid back.";
    assert_all_right(Some(&server.url()), closing);
}

#[test]
fn two_stories_on_one_store_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sled:{}", folder.path().join("keys").display());
    for _ in 0..2 {
        let closing = "All 18 acts went right: 10 payments, 10 charges; 6 refunds, 6 paid back.";
        assert_all_right(Some(&store), closing);
    }
}

#[test]
fn what_cannot_start_says_what_and_what_to_do() {
    let (output, _) = tell(Some("radish:"));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("no store `radish:`") && error.contains("`sled:`"), "{error}");
}
