//! The page's own lines, as they are printed there: with curl and openssl.

use std::process::Command;

use super::{ledger, with};

/// The lines of the page that are to be typed, with the service's address for the one that is printed.
fn lines(heading: &str, address: &str) -> String {
    let page = include_str!("../../../webhooks.md");
    let (_, after) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading} on the page"));
    let (_, block) = after.split_once("```sh\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    block.replace("127.0.0.1:3000", address)
}

fn run(script: &str) -> String {
    let ran = Command::new("bash").args(["-euc", script]).output().expect("bash");
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{script}\n{said}\n{complained}");
    said.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_lines_do_as_it_says() {
    let service = with(&[]).start(None).await;
    let address = service.address.to_string();
    let said = run(&lines("## Try it", &address));
    // The first, its retry, another body under its key, by the event's id, an old signature, a key with spaces.
    let statuses: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).map(|line| &line[..3]).collect();
    assert_eq!(statuses, ["200", "200", "422", "200", "401", "400"], "{said}");
    assert_eq!(said.matches("idempotency-replayed: true").count(), 1, "{said}");
    assert_eq!(ledger(&service, None).await.len(), 2, "{said}");
    let said = run(&lines("## Look at it", &address));
    for part in ["\"status\":\"ok\"", "\"active\":2", "\"schedule\":\"0 * * * *\"", "\"paid\":0"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
