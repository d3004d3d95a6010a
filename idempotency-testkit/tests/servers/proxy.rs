//! Each order of the proxy, on a server that sends back what it gets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use idempotency_testkit::proxy::{Direction, Proxy};

use crate::again::eventually;

/// For what must come: no test waits for it without reason.
const LIMIT: Duration = Duration::from_secs(20);
/// For what must not come.
const QUIET: Duration = Duration::from_millis(200);

/// What the server saw on its connections.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Opened,
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// Starts a server that sends everything back, says `bye` after the end, and tells what it sees.
fn echo() -> (SocketAddr, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, seen) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, tell) = (stream.unwrap(), tell.clone());
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                // A test that has ended listens no more.
                let tell = |seen| drop(tell.send(seen));
                tell(Seen::Opened);
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => {
                            tell(Seen::End);
                            let _ = stream.write_all(b"bye");
                            return;
                        }
                        Ok(length) => {
                            tell(Seen::Bytes(buffer[..length].to_vec()));
                            // A reset is told once: to the write, or to the next read.
                            if stream.write_all(&buffer[..length]).is_err() {
                                return tell(Seen::Reset);
                            }
                        }
                        Err(_) => return tell(Seen::Reset),
                    }
                }
            });
        }
    });
    (address, seen)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client
}

/// A proxy in front of an echo server, with one client that was served.
fn served() -> (Proxy, TcpStream, Receiver<Seen>) {
    let (server, seen) = echo();
    let proxy = Proxy::start(server).unwrap();
    let mut client = connect(&proxy);
    assert_eq!(ask(&mut client, "hello"), "hello");
    assert_eq!(next(&seen), Seen::Opened);
    assert_eq!(next(&seen), Seen::Bytes(b"hello".to_vec()));
    (proxy, client, seen)
}

fn ask(client: &mut TcpStream, what: &str) -> String {
    client.write_all(what.as_bytes()).unwrap();
    answer(client, what.len())
}

fn answer(client: &mut TcpStream, length: usize) -> String {
    let mut answer = vec![0; length];
    client.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(LIMIT).unwrap()
}

fn is_quiet(client: &mut TcpStream) -> bool {
    client.set_read_timeout(Some(QUIET)).unwrap();
    let quiet =
        client.read(&mut [0]).is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    client.set_read_timeout(Some(LIMIT)).unwrap();
    quiet
}

fn is_reset(client: &mut TcpStream) -> bool {
    client.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn what_is_not_disturbed_is_passed_on_and_counted() {
    let (proxy, mut client, seen) = served();
    let mut other = connect(&proxy);
    assert_eq!(ask(&mut other, "other"), "other");
    let large = "x".repeat(3 << 20);
    let mut writing = client.try_clone().unwrap();
    let written = large.clone();
    let writer = thread::spawn(move || writing.write_all(written.as_bytes()).unwrap());
    assert_eq!(answer(&mut client, large.len()), large);
    writer.join().unwrap();
    let all = (large.len() + 10) as u64;
    // What was passed on is counted a moment after it can be read.
    eventually("all is counted", || (proxy.counts().to_server, proxy.counts().to_client) == (all, all));
    assert_eq!((proxy.counts().connections, proxy.counts().open), (2, 2));

    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(&mut client, 3), "bye", "the end goes through, and what comes after it");
    while next(&seen) != Seen::End {}
}

#[test]
fn a_delay_is_kept_and_so_is_the_order() {
    let (proxy, mut client, _seen) = served();
    let delay = Duration::from_millis(150);
    proxy.delay(Direction::Both, delay);
    let begun = Instant::now();
    for chunk in ["a", "b", "c", "d", "e", "f"] {
        client.write_all(chunk.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(answer(&mut client, 6), "abcdef");
    assert!(begun.elapsed() >= 2 * delay, "each way takes the delay: {:?}", begun.elapsed());

    // Of a request in one direction and another after it, the slow direction's alone waits.
    proxy.delay(Direction::ToServer, Duration::ZERO);
    let begun = Instant::now();
    assert_eq!(ask(&mut client, "again"), "again");
    assert!(begun.elapsed() >= delay, "the way back is still slow: {:?}", begun.elapsed());
}

#[test]
fn chunks_are_delayed_side_by_side() {
    let (proxy, mut client, seen) = served();
    let delay = Duration::from_millis(200);
    proxy.delay(Direction::ToServer, delay);
    let begun = Instant::now();
    for _ in 0..25 {
        client.write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(4));
    }
    let mut arrived = 0;
    while arrived < 25 {
        let Seen::Bytes(bytes) = next(&seen) else { panic!("the connection ended") };
        arrived += bytes.len();
    }
    assert!(begun.elapsed() < 25 * delay, "one after the other they could not have come in {:?}", begun.elapsed());
}

#[test]
fn a_black_hole_holds_what_is_sent_until_it_is_healed() {
    let (proxy, mut client, seen) = served();
    proxy.black_hole(Direction::Both);
    client.write_all(b"lost?").unwrap();
    let mut newcomer = connect(&proxy);
    newcomer.write_all(b"anyone?").unwrap();
    assert!(is_quiet(&mut client));
    assert!(is_quiet(&mut newcomer));
    assert!(seen.try_recv().is_err(), "the server saw nothing, not even the newcomer");
    assert_eq!(proxy.counts().open, 2, "and nobody was cut off");

    proxy.heal();
    assert_eq!(answer(&mut client, 5), "lost?");
    assert_eq!(answer(&mut newcomer, 7), "anyone?");
}

#[test]
fn a_black_hole_in_one_direction_lets_the_other_pass() {
    let (proxy, mut client, seen) = served();
    proxy.black_hole(Direction::ToClient);
    client.write_all(b"request").unwrap();
    assert_eq!(next(&seen), Seen::Bytes(b"request".to_vec()));
    assert!(is_quiet(&mut client));
    proxy.pass(Direction::ToClient);
    assert_eq!(answer(&mut client, 7), "request");
}

#[test]
fn the_end_of_a_connection_does_not_leave_a_black_hole() {
    let (proxy, client, seen) = served();
    proxy.black_hole(Direction::ToServer);
    drop(client);
    assert!(seen.recv_timeout(QUIET).is_err());
    proxy.heal();
    assert_eq!(next(&seen), Seen::End);
}

#[test]
fn a_cut_resets_both_ends_and_lets_new_connections_through() {
    let (proxy, mut client, seen) = served();
    let mut other = connect(&proxy);
    assert_eq!(ask(&mut other, "other"), "other");
    proxy.cut();
    assert!(is_reset(&mut client));
    assert!(is_reset(&mut other));
    let mut resets = 0;
    while resets < 2 {
        resets += usize::from(next(&seen) == Seen::Reset);
    }
    assert_eq!(ask(&mut connect(&proxy), "new"), "new");
}

#[test]
fn what_is_sent_after_a_cut_never_arrives() {
    for _ in 0..50 {
        let (proxy, mut client, seen) = served();
        proxy.cut();
        // It may fail already.
        let _ = client.write_all(b"late");
        assert_eq!(next(&seen), Seen::Reset);
    }
}

#[test]
fn who_is_refused_is_reset_until_it_is_healed() {
    let (proxy, mut client, _seen) = served();
    proxy.refuse();
    assert!(is_reset(&mut connect(&proxy)));
    assert_eq!(ask(&mut client, "still here"), "still here");
    proxy.heal();
    assert_eq!(ask(&mut connect(&proxy), "back"), "back");
    assert_eq!(proxy.counts().connections, 3);
}

#[test]
fn a_half_close_ends_one_direction_and_the_other_goes_on() {
    let (proxy, mut client, seen) = served();
    proxy.half_close(Direction::ToClient);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client sees the end");
    client.write_all(b"still heard").unwrap();
    assert_eq!(next(&seen), Seen::Bytes(b"still heard".to_vec()));
    assert_eq!(ask(&mut connect(&proxy), "new"), "new", "a new connection has both directions");
}

#[test]
fn a_half_close_to_the_server_lets_its_last_words_through() {
    let (proxy, mut client, seen) = served();
    proxy.half_close(Direction::ToServer);
    assert_eq!(next(&seen), Seen::End);
    assert_eq!(answer(&mut client, 3), "bye");
}

#[test]
fn a_request_gets_through_and_its_answer_does_not() {
    let (proxy, mut client, seen) = served();
    proxy.cut_after(Direction::ToClient, 0);
    client.write_all(b"charge").unwrap();
    assert_eq!(next(&seen), Seen::Bytes(b"charge".to_vec()));
    assert!(is_reset(&mut client));
    assert_eq!(ask(&mut connect(&proxy), "once"), "once", "it happens once");
}

#[test]
fn a_cut_comes_after_exactly_the_bytes_that_were_allowed() {
    let (proxy, mut client, seen) = served();
    proxy.cut_after(Direction::ToServer, 7);
    assert_eq!(ask(&mut client, "four"), "four");
    client.write_all(b"and more").unwrap();
    assert_eq!(next(&seen), Seen::Bytes(b"four".to_vec()));
    assert_eq!(next(&seen), Seen::Bytes(b"and".to_vec()));
    assert_eq!(next(&seen), Seen::Reset);
    eventually("both are counted", || proxy.counts().to_server == 12);
}

#[test]
fn a_reset_of_one_end_reaches_the_other() {
    let (_proxy, mut client, seen) = served();
    client.write_all(b"unread").unwrap();
    assert_eq!(next(&seen), Seen::Bytes(b"unread".to_vec()));
    client.peek(&mut [0]).unwrap();
    // Closing with bytes unread is a reset.
    drop(client);
    assert_eq!(next(&seen), Seen::Reset);
}

#[test]
fn who_wants_a_server_that_is_not_there_is_cut_off() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(nobody).unwrap();
    assert!(is_reset(&mut connect(&proxy)));
}

#[test]
fn a_proxy_takes_its_connections_along_whatever_it_was_told() {
    for order in [Proxy::heal, Proxy::cut, |proxy: &Proxy| proxy.black_hole(Direction::Both)] {
        let (proxy, mut client, _seen) = served();
        let address = proxy.address();
        order(&proxy);
        drop(proxy);
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        assert!(TcpStream::connect(address).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_runtime_neither_stops_nor_hurries_it() {
    let (proxy, mut client, _seen) = served();
    proxy.delay(Direction::ToServer, Duration::from_millis(150));
    let begun = Instant::now();
    assert_eq!(ask(&mut client, "real time"), "real time");
    assert!(begun.elapsed() >= Duration::from_millis(150));
}
