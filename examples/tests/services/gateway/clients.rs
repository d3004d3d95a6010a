//! The client snippets, run as they are: each loses an answer and meets a failure, and pays once.

use std::path::Path;

use idempotency_testkit::proxy::{Direction, Proxy};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{API_KEY, GATEWAY};

/// Runs a snippet through a network that loses its first answer; then the provider charges, and loses its own.
async fn a_snippet_pays_once(program: &str, install: &str, snippet: &str) {
    let gateway = GATEWAY.start(None).await;
    let proxy = Proxy::start(gateway.address).expect("a proxy");
    let snippet = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/gateway").join(snippet);
    let run = async |amount: &str| {
        let mut command = Command::new(program);
        command.arg(&snippet).arg(format!("http://{}", proxy.address())).args([API_KEY, amount, "UGX", "260700000000"]);
        let output = command.output().await.unwrap_or_else(|error| {
            panic!("cannot run {program}: {error}; this test runs {}: {install}", snippet.display())
        });
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), serde_json::from_slice::<Value>(&output.stdout), said)
    };

    proxy.cut_after(Direction::ToClient, 0);
    gateway.tell_provider("/next/charge-then-drop").await;
    let (ended_well, paid, said) = run("1000").await;
    assert!(ended_well, "{said}");
    let [charge] = &gateway.ledger()[..] else { panic!("{:?}", gateway.ledger()) };
    let expected = json!({
        "status": "paid", "payment_id": charge.id, "amount": 1_000, "currency": "UGX", "payer": "260700000000"
    });
    assert_eq!(paid.unwrap_or_else(|error| panic!("{error}: {said}")), expected);
    assert!(proxy.counts().connections >= 2, "it asked again");

    // A mistake is not asked again.
    let before = proxy.counts().connections;
    let (ended_well, _, said) = run("0").await;
    assert!(!ended_well && said.contains("bad-body"), "{said}");
    assert_eq!(proxy.counts().connections, before + 1);
    assert_eq!(gateway.ledger().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_for_curl_pays_once() {
    let version = Command::new("curl").arg("--version").output().await;
    assert!(version.is_ok(), "there is no curl, which this test drives: `apt-get install curl` or `brew install curl`");
    a_snippet_pays_once("sh", "it needs a POSIX shell", "curl.sh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_for_node_pays_once() {
    a_snippet_pays_once("node", "`apt-get install nodejs` or `brew install node`", "node.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_for_python_pays_once() {
    a_snippet_pays_once("python3", "`apt-get install python3` or `brew install python3`", "client.py").await;
}
