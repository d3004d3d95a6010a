//! The first words with a Postgres server.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Introduces `user`, and gives nothing if the server goes on to ask who that is or lets them in;
/// else its error. Connecting and the answer may each take as long as `limit`.
pub(super) fn shake_hands(address: &str, user: &str, limit: Duration) -> io::Result<Result<(), String>> {
    let target = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&target, limit)?;
    stream.set_read_timeout(Some(limit))?;
    // StartupMessage of protocol 3.0: its length, the version, names and values, an end.
    let said = format!("user\0{user}\0database\0postgres\0\0");
    let mut message = (said.len() as u32 + 8).to_be_bytes().to_vec();
    message.extend(196_608_u32.to_be_bytes());
    message.extend(said.as_bytes());
    stream.write_all(&message)?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]).saturating_sub(4);
    match head[0] {
        b'R' => Ok(Ok(())),
        b'E' => {
            let mut said = Vec::new();
            stream.take(length.into()).read_to_end(&mut said)?;
            // Fields, each with a letter before it: M is the message.
            let fields = said.split(|byte| *byte == 0);
            let message = fields.filter_map(|field| field.strip_prefix(b"M")).next().unwrap_or(&said);
            Ok(Err(String::from_utf8_lossy(message).into_owned()))
        }
        other => Ok(Err(format!("a message of the unexpected kind {:?}", char::from(other)))),
    }
}
