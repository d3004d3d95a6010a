//! Speaking to Redis, and waiting.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Sends one command and reads the first two lines of its answer, which is enough for short texts.
pub(crate) fn ask(address: SocketAddr, command: &str, limit: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(command.as_bytes())?;
    stream.write_all(b"\r\n")?;
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    if line.starts_with('$') && !line.starts_with("$-") {
        line.clear();
        lines.read_line(&mut line)?;
    }
    if line.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(line.trim_end().to_owned()) }
}

pub(crate) fn told(address: SocketAddr, command: &str) -> String {
    ask(address, command, Duration::from_secs(5)).unwrap()
}

/// Waits for a condition, for half a minute at the most.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: it has not come in half a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is there, and no zombie.
pub(crate) fn runs(process: u32) -> bool {
    let output = std::process::Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]).output().unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
