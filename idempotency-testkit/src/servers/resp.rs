//! As much of Redis's protocol as starting servers takes (RESP2, the server's documentation,
//! *Redis serialization protocol specification*).

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(String),
    Error(String),
    Number(i64),
    Nothing,
    List(Vec<Self>),
}

impl Reply {
    /// The text of a simple or bulk string.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Error(text) => text,
            Self::Number(_) | Self::Nothing | Self::List(_) => "",
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            Self::Text(_) | Self::Error(_) | Self::Number(_) | Self::Nothing => &[],
        }
    }
}

/// Asks once, on a connection of its own, and waits for at most two seconds.
pub(super) fn ask(address: SocketAddr, words: &[&str]) -> io::Result<Reply> {
    ask_within(address, words, Duration::from_secs(2))
}

pub(super) fn ask_within(address: SocketAddr, words: &[&str], limit: Duration) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    read(&mut BufReader::new(stream))
}

fn read(from: &mut impl BufRead) -> io::Result<Reply> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("no answer of Redis: {line:?}"));
    let (kind, rest) = line.split_at_checked(1).ok_or_else(bad)?;
    Ok(match kind {
        "+" => Reply::Text(rest.into()),
        "-" => Reply::Error(rest.into()),
        ":" => Reply::Number(rest.parse().map_err(|_| bad())?),
        "$" => match usize::try_from(rest.parse::<i64>().map_err(|_| bad())?) {
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            Err(_) => Reply::Nothing,
        },
        "*" => match usize::try_from(rest.parse::<i64>().map_err(|_| bad())?) {
            Ok(count) => Reply::List((0..count).map(|_| read(from)).collect::<io::Result<_>>()?),
            Err(_) => Reply::Nothing,
        },
        _ => return Err(bad()),
    })
}
