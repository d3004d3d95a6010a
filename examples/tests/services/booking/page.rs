//! The page's own lines, as a reader would run them.

use std::process::Stdio;

use tokio::process::Command;

use super::{BOOKING, Booking};

/// The lines in the page's first block for a shell after `marker`.
fn block(marker: &str) -> String {
    let page = include_str!("../../../booking.md");
    let (_, after) = page.split_once(marker).expect("the marker");
    let (_, block) = after.split_once("```sh\n").expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_curl_lines_do_what_they_say() {
    let booking = Booking(BOOKING.start(None).await);
    let lines = block("## By hand").replace("127.0.0.1:8080", &booking.at().to_string());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &lines]).stdin(Stdio::null());
    let ran = shell.output().await.expect("bash and curl must be installed");
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{error}");
    assert_eq!(out.matches("\"isRetry\":true").count(), 5, "{out}");
    assert_eq!(out.matches("\"status\":\"succeeded\"").count(), 2, "{out}");
    assert!(out.contains("\"free\":95") && out.contains("\"booked\":5"), "{out}");
    assert!(out.contains("\"action\":\"PAYMENT_RETRY\""), "{out}");
    assert_eq!(booking.0.ledger().len(), 1);
}
