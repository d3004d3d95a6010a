//! Seats of events, locked, booked and paid, and background jobs that never run twice at once.
//!
//! `cargo run --bin booking`; see `examples/booking.md`.

mod answer;
mod api;
mod books;
mod jobs;
mod payments;
mod request;
mod service;
mod users;

use std::net::SocketAddr;
use std::process::ExitCode;

use idempotency_examples::app::{self, About};

const ABOUT: About = About {
    name: "booking",
    does: "locks, books and pays seats once a key, with expiry jobs of which never two run at once",
    options: &[
        ("lock-for", "how long a seat lock holds (default: 10m)"),
        ("pay-within", "how long a booking may stay unpaid (default: 15m)"),
        ("jobs-every", "how often the jobs run by themselves, or `never` (default: 1m)"),
        ("tokens", "who may ask, as NAME=TOKEN,… (default: see what is printed at the start)"),
    ],
    provider: true,
    to_try,
};

#[tokio::main]
async fn main() -> ExitCode {
    app::run(ABOUT, service::start).await
}

fn to_try(at: SocketAddr) -> String {
    let post = format!("curl -H 'Content-Type: application/json' http://{at}/api");
    format!(
        "\
try:  {post}/events -H 'Authorization: Bearer operator-token' -d '{{\"eventId\": \"concert\", \"seats\": 100}}'
      {post}/locks -H 'Authorization: Bearer alice-token' \\
        -d '{{\"eventId\": \"concert\", \"userId\": \"alice\", \"seats\": 5, \"idempotencyKey\": \"test-lock-123\"}}'
      {post}/bookings -H 'Authorization: Bearer alice-token' -d '{{\"seatLockId\": \"…\"}}'
      {post}/payments/intent -H 'Authorization: Bearer alice-token' \\
        -d '{{\"bookingId\": \"…\", \"amount\": 500, \"force\": \"success\", \"idempotencyKey\": \"test-payment-123\"}}'
      {post}/jobs/expire-bookings -H 'Authorization: Bearer operator-token' -X POST
      curl -H 'Authorization: Bearer operator-token' http://{at}/api/audit
each of the posts twice: the second answer is the first again"
    )
}
