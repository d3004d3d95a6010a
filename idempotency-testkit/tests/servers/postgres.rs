//! One Postgres server.

use std::net::TcpStream;
use std::time::Duration;

use idempotency_testkit::servers::Postgres;

use crate::support::until;

#[test]
fn a_server_answers_and_its_databases_are_apart() {
    let postgres = Postgres::shared().unwrap();
    assert_eq!(postgres.query("postgres", "SELECT 6 * 7").unwrap(), ["42"]);
    let [one, other] = [(), ()].map(|()| postgres.fresh_database().unwrap());
    let name = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    postgres.query(&name(&one), "CREATE TABLE only_here ()").unwrap();
    let error = postgres.query(&name(&other), "SELECT * FROM only_here").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("only_here"), "{source}");
    assert_eq!(Postgres::shared().unwrap().url(), postgres.url());
}

#[test]
fn a_killed_server_comes_up_again_with_what_it_had_written() {
    let postgres = Postgres::new().with("synchronous_commit", "on").start().unwrap();
    postgres.query("postgres", "CREATE TABLE kept AS SELECT 'there' AS word").unwrap();
    postgres.kill().unwrap();
    postgres.query("postgres", "SELECT 1").unwrap_err();
    postgres.restart().unwrap();
    assert_eq!(postgres.query("postgres", "SELECT word FROM kept").unwrap(), ["there"]);
    assert_eq!(postgres.query("postgres", "SHOW synchronous_commit").unwrap(), ["on"]);
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    use std::io::{Read, Write};

    let postgres = Postgres::new().with("fsync", "off").start().unwrap();
    postgres.pause().unwrap();
    let mut stream = TcpStream::connect(postgres.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // A request for TLS, which is refused by one byte.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut refusal = [0];
    stream.read_exact(&mut refusal).unwrap_err();
    postgres.resume().unwrap();
    until("it answers", || stream.read_exact(&mut refusal).is_ok());
    assert_eq!(&refusal, b"N");
    postgres.pause().unwrap();
}

#[test]
fn a_server_that_does_not_start_shows_its_log() {
    let error = Postgres::new().with("no_such_setting", "1").start().unwrap_err().to_string();
    assert!(error.contains("postgres ended before it was ready") && error.contains("no_such_setting"), "{error}");
}
