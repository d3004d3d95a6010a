//! Large bodies, many at once: how much of a server's memory they take at most.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use http_body::{Frame, SizeHint};
use idempotency::Idempotency;
use idempotency_http::server::IdempotencyLayer;
use idempotency_testkit::processes::{Program, role};

use super::{LONG, Service};

const MIB: usize = 1024 * 1024;
/// Of a request and of a response.
const SIZE: usize = 100 * MIB;
/// What the layer takes of a request's body by default; of a response's it is half as much.
const LIMIT: usize = MIB;
const AT_ONCE: usize = 8;
/// What a request's body may take: what has come, room for it to grow, the whole in one piece, and the server's
/// own buffers.
const A_REQUEST: usize = 4 * LIMIT;
const A_RESPONSE: usize = 2 * LIMIT;
const PIECE: usize = 64 * 1024;

pub(super) fn add_to(program: &mut Program) {
    program.role("large", large);
    program.test("requests_of_100_mb_are_refused_in_bounded_memory", requests);
    program.test("responses_of_100_mb_come_whole_in_bounded_memory", responses);
}

/// What large bodies are made of.
fn piece() -> Vec<u8> {
    (0..=250).cycle().take(PIECE).collect()
}

/// A body that holds one piece of itself.
struct Large {
    piece: Bytes,
    left: usize,
    /// Whether it tells its length beforehand.
    told: bool,
}

impl http_body::Body for Large {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= PIECE;
        // A copy, so that whoever keeps it takes as much memory.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&self.piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.told { SizeHint::with_exact(self.left as u64) } else { SizeHint::default() }
    }
}

/// Serves until it is killed, with the default limits: `/in` takes bodies, `/told` and `/untold` give large
/// ones, and `/runs` tells how often a handler has run.
#[tokio::main]
async fn large(_: &[String]) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let store = idempotency::connect("memory:").await.unwrap();
    let piece = Bytes::from(piece());
    let gives = |told| {
        let piece = piece.clone();
        post(move |_: Bytes| async move {
            RUNS.fetch_add(1, Ordering::SeqCst);
            Body::new(Large { piece, left: SIZE, told })
        })
    };
    let takes = |body: Bytes| async move {
        RUNS.fetch_add(1, Ordering::SeqCst);
        body.len().to_string()
    };
    let once = IdempotencyLayer::new(Idempotency::new(store));
    let routes = Router::new().route("/in", post(takes)).route("/told", gives(true)).route("/untold", gives(false));
    // Axum's own limit is not the one that is asked about.
    let routes = routes.layer(axum::extract::DefaultBodyLimit::disable()).layer(once);
    let routes = routes.route("/runs", get(|| async { RUNS.load(Ordering::SeqCst).to_string() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, routes).await.unwrap();
}

impl Service {
    fn large() -> Self {
        let mut process = role("large").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }

    /// The most of its memory that was ever resident, in bytes.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
        line.trim().strip_suffix(" kB").expect("in kilobytes").parse::<usize>().unwrap() * 1024
    }

    /// Sends what of a request comes first, on a connection that is closed after its answer. HTTP/1.0 has an
    /// answer's end told by that alone.
    fn begin(&self, line: &str, key: usize, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        let head = format!("{line}\r\nHost: test\r\nConnection: close\r\nIdempotency-Key: k{key}\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    #[track_caller]
    fn assert_runs(&self, runs: usize) {
        let mut answer = String::new();
        self.begin("GET /runs HTTP/1.0", 0, "").read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{runs}")), "{answer}");
    }

    /// Runs this many at once, and holds the server to what bodies may take over its peak before any.
    fn bounded(&self, before: usize, a_body: usize, each: impl Fn(usize) + Sync) {
        let each = &each;
        thread::scope(|scope| (0..AT_ONCE).for_each(|n| drop(scope.spawn(move || each(n)))));
        let (peak, most) = (self.peak(), before + AT_ONCE * a_body);
        assert!(peak <= most, "{peak} bytes at the peak, {before} before; at most it should be {most}");
    }
}

/// What is answered, also where the server closes before it was sent everything.
fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is of the body that was not taken.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn requests() {
    let service = Service::large();
    // What one small request needs is there before.
    let mut small = service.begin("POST /in HTTP/1.1", 99, "Content-Length: 4\r\n");
    small.write_all(b"body").unwrap();
    assert!(answer(small).ends_with("\r\n\r\n4"));
    let before = service.peak();

    let piece = piece();
    let chunk = [format!("{PIECE:x}\r\n").as_bytes(), &piece, b"\r\n"].concat();
    // As much as is just allowed is held for all of them at once; then comes the rest.
    let all_here = Barrier::new(AT_ONCE);
    service.bounded(before, A_REQUEST, |n| {
        let mut stream = service.begin("POST /in HTTP/1.1", n, "Transfer-Encoding: chunked\r\n");
        let mut send = |bytes: usize| (0..bytes).step_by(PIECE).try_for_each(|_| stream.write_all(&chunk));
        let allowed = send(LIMIT);
        all_here.wait();
        allowed.unwrap();
        // How much of the rest the server takes is its own choice, as long as it does not keep it.
        drop(send(SIZE - LIMIT).and_then(|()| stream.write_all(b"0\r\n\r\n")));
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("/problems/body-too-large"), "{answer}");
    });
    service.bounded(before, A_REQUEST, |n| {
        let mut stream = service.begin("POST /in HTTP/1.1", n, &format!("Content-Length: {SIZE}\r\n"));
        drop((0..SIZE).step_by(PIECE).try_for_each(|_| stream.write_all(&piece)));
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("/problems/body-too-large"), "{answer}");
    });
    service.assert_runs(1);
    // Nothing has taken the keys.
    service.bounded(before, A_REQUEST, |n| {
        let mut stream = service.begin("POST /in HTTP/1.1", n, &format!("Content-Length: {LIMIT}\r\n"));
        (0..LIMIT).step_by(PIECE).try_for_each(|_| stream.write_all(&piece)).unwrap();
        let answer = answer(stream);
        assert!(answer.ends_with(&format!("\r\n\r\n{LIMIT}")), "{answer}");
    });
    service.assert_runs(1 + AT_ONCE);
}

fn responses() {
    let service = Service::large();
    service.assert_runs(0);
    let (before, mut runs) = (service.peak(), 0);
    for path in ["/told", "/untold"] {
        let line = format!("POST {path} HTTP/1.0");
        let piece = piece();
        service.bounded(before, A_RESPONSE, |n| {
            let mut stream = BufReader::new(service.begin(&line, n, ""));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
            }
            assert!(head.contains("200 OK") && head.contains("idempotency-status: not-replayable"), "{head}");
            let mut came = vec![0; PIECE];
            for at in (0..SIZE).step_by(PIECE) {
                stream.read_exact(&mut came).unwrap_or_else(|error| panic!("{path} at {at}: {error}"));
                assert!(came == piece, "{path}: other bytes at {at}");
            }
            assert_eq!(stream.read(&mut came).unwrap(), 0, "{path}: more than there is");
        });
        runs += AT_ONCE;
        service.assert_runs(runs);
        // A duplicate is told, and nothing runs.
        let again = answer(service.begin(&line, 0, ""));
        assert!(again.contains("409 Conflict") && again.contains("/problems/answer-not-kept"), "{again}");
        service.assert_runs(runs);
    }
}
