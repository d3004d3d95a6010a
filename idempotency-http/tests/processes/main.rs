//! A server that is killed in mid-handler and started again, on sled; clients that are killed; and the memory
//! of a server.

#![allow(clippy::unwrap_used)] // in what the tests share, too

#[cfg(feature = "client")]
mod client;
// The peak of a process's memory is told by Linux.
#[cfg(target_os = "linux")]
mod memory;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use axum::extract::Path as Route;
use axum::routing::post;
use axum::{Extension, Router};
use idempotency::{Attempt, Idempotency, OnUnknown};
use idempotency_http::server::{IdempotencyLayer, Policy};
use idempotency_testkit::processes::{Program, role};

/// Longer than anything should take; what takes longer fails.
const LONG: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut program = Program::default();
    program.role("service", service);
    program.test("killed_in_mid_handler_it_runs_again_and_says_so", || killed_in_mid_handler(OnUnknown::RunAgain));
    program.test("killed_in_mid_handler_it_refuses_and_says_so", || killed_in_mid_handler(OnUnknown::Refuse));
    program.test("what_was_answered_before_a_kill_is_answered_after_it", answered_before_a_kill);
    #[cfg(feature = "client")]
    client::add_to(&mut program);
    #[cfg(target_os = "linux")]
    memory::add_to(&mut program);
    program.run()
}

/// Serves from a folder until it is killed. The first run of `/stuck` says in a file that it has begun, and
/// never ends; each run of `/slow` writes its key into a file, and ends once there is a file that lets it.
#[tokio::main]
async fn service(arguments: &[String]) {
    let [folder, on_unknown, address] = arguments else { panic!("a folder, a policy and an address") };
    let folder = PathBuf::from(folder);
    let store = idempotency::connect(&format!("sled:{}", folder.join("keys").display())).await.unwrap();
    let idempotency = Idempotency::new(store).with_lease(Duration::from_secs(1)).unwrap();
    let on_unknown = if on_unknown == "refuse" { OnUnknown::Refuse } else { OnUnknown::RunAgain };
    let layer = IdempotencyLayer::new(idempotency).with_policy(Policy::new().with_on_unknown(on_unknown));
    let handler = move |Route(what): Route<String>, Extension(attempt): Extension<Attempt>| async move {
        let began = folder.join("began");
        if what == "stuck" && !began.exists() {
            std::fs::write(began, "").unwrap();
            std::future::pending::<()>().await;
        }
        if what == "slow" {
            let mut effects = std::fs::File::options().append(true).create(true).open(folder.join("effects")).unwrap();
            writeln!(effects, "{}", attempt.key().id_parts().next().unwrap()).unwrap();
            while !folder.join("go").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        format!("attempt {}, after an unknown one: {}", attempt.number(), attempt.prior().is_some())
    };
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, Router::new().route("/{what}", post(handler)).layer(layer)).await.unwrap();
}

struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    fn start(folder: &Path, on_unknown: OnUnknown) -> Self {
        Self::start_at(folder, on_unknown, "127.0.0.1:0")
    }

    fn start_at(folder: &Path, on_unknown: OnUnknown, address: &str) -> Self {
        let policy = if on_unknown == OnUnknown::Refuse { "refuse" } else { "again" };
        let mut process = role("service").arg(folder).args([policy, address]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }

    fn send(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nIdempotency-Key: k\r\nContent-Length: 4\r\n\r\nbody"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn ask(&self, path: &str) -> String {
        let mut answer = String::new();
        self.send(path).read_to_string(&mut answer).unwrap();
        answer
    }
}

/// By SIGKILL.
impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn killed_in_mid_handler(on_unknown: OnUnknown) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), on_unknown);
    let client = service.send("/stuck");
    until(|| folder.path().join("began").exists().then_some(()));
    drop(service);
    drop(client);

    let service = Service::start(folder.path(), on_unknown);
    // The dead process's lease is still to run out.
    let answer = until(|| Some(service.ask("/stuck")).filter(|answer| !answer.contains("/problems/in-progress")));
    if on_unknown == OnUnknown::Refuse {
        assert!(answer.starts_with("HTTP/1.1 409") && answer.contains("/problems/outcome-unknown"), "{answer}");
        assert!(!answer.to_lowercase().contains("retry-after"), "{answer}");
    } else {
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("idempotency-prior: unknown"), "{answer}");
        assert!(answer.ends_with("attempt 2, after an unknown one: true"), "{answer}");
        let again = service.ask("/stuck");
        assert!(
            again.contains("idempotency-replayed: true") && again.ends_with("attempt 2, after an unknown one: true")
        );
    }
}

fn answered_before_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let first = Service::start(folder.path(), OnUnknown::RunAgain).ask("/quick");
    assert!(first.contains("idempotency-status: recorded"), "{first}");
    let again = Service::start(folder.path(), OnUnknown::RunAgain).ask("/quick");
    assert!(again.contains("idempotency-replayed: true"), "{again}");
    assert!(again.ends_with("attempt 1, after an unknown one: false"), "{again}");
}
