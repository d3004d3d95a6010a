//! The page's payment client, run by Node as it is, against a shop that says what it is told to.

use std::process::Stdio;

use tokio::process::Command;

const CLIENT: &str = include_str!("../../../src/bin/checkout/page/payment-client.js");

/// What a browser has and Node has not; a shop; and two presses of Pay, with the keys that they send.
const PRESSES: &str = r#"
globalThis.addEventListener = globalThis.removeEventListener = () => {};
const stored = new Map();
const storage = {
  getItem: (name) => stored.get(name) ?? null,
  setItem: (name, value) => stored.set(name, value),
  removeItem: (name) => stored.delete(name),
};
const keys = new Set();
const [status, headers] = JSON.parse(process.argv[1]);
globalThis.fetch = async (_, { headers: sent }) => {
  keys.add(sent["Idempotency-Key"]);
  return new Response("{}", { status, headers });
};
const client = new PaymentClient({ storage, patience: 0 });
for (let press = 0; press < 2; press += 1) {
  await client.pay({ variantId: "test" }).then(() => console.log("answered"), (error) => console.log(error.constructor.name));
}
console.log(`keys ${keys.size}`);
"#;

async fn two_presses(answer: &str) -> Vec<String> {
    let script = format!("{CLIENT}\n{PRESSES}");
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", &script, answer]).stdin(Stdio::null());
    let ran = node.output().await.expect("this test runs Node: `apt-get install nodejs` or `brew install node`");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).lines().map(str::to_owned).collect()
}

/// With another key it would be another payment; and the first may have been made.
#[tokio::test]
async fn the_page_takes_a_new_key_only_when_it_is_known_what_became_of_the_last() {
    for open in [
        // Of the layer: it runs still; nobody knows what became of it; its answer is not kept.
        r#"[409, {"Retry-After": "1"}]"#,
        "[409, {}]",
        "[500, {}]",
        r#"[502, {"Idempotency-Status": "unknown"}]"#,
    ] {
        assert_eq!(two_presses(open).await, ["NoAnswer", "NoAnswer", "keys 1"], "{open}");
    }
    for known in [
        r#"[201, {"Idempotency-Status": "recorded"}]"#,
        r#"[402, {"Idempotency-Status": "replayed"}]"#,
        r#"[409, {"Idempotency-Status": "freed"}]"#,
    ] {
        assert_eq!(two_presses(known).await, ["answered", "answered", "keys 2"], "{known}");
    }
}
