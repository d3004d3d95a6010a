//! Redis's protocol, as far as tests of servers need it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What a Redis server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing: there is no such key.
    Nil,
    /// A whole number.
    Integer(i64),
    /// A text, or bytes shown as such.
    Text(String),
    /// The server refuses.
    Error(String),
    /// Several answers.
    Array(Vec<Self>),
}

impl Reply {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nil | Self::Integer(_) | Self::Error(_) | Self::Array(_) => None,
        }
    }

    /// The value after `name` in a list of names and values.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let Self::Array(all) = self else { return None };
        all.chunks(2).find(|pair| pair[0].text() == Some(name))?.get(1)?.text()
    }
}

/// Asks a server one thing, on a connection of its own.
pub(super) fn ask(address: &str, limit: Duration, parts: &[&str]) -> io::Result<Reply> {
    Connection::open(address, limit)?.ask(parts)
}

/// The part of INFO that is named `section`, as its lines `name:value`.
pub(super) fn info(address: &str, limit: Duration, section: &str) -> io::Result<String> {
    match ask(address, limit, &["INFO", section])? {
        Reply::Text(text) => Ok(text),
        other => Err(io::Error::other(format!("INFO was answered by {other:?}"))),
    }
}

/// A connection to a server.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects; connecting and each answer may take as long as `limit`.
    pub(super) fn open(address: &str, limit: Duration) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(limit))?;
                    stream.set_write_timeout(Some(limit))?;
                    stream.set_nodelay(true)?;
                    return Ok(Self(BufReader::new(stream)));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) fn ask(&mut self, parts: &[&str]) -> io::Result<Reply> {
        let mut command = format!("*{}\r\n", parts.len());
        for part in parts {
            command.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        self.0.get_mut().write_all(command.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange(&line))?;
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Integer(rest.parse().map_err(|_| strange(&line))?)),
            "$" | "*" if rest == "-1" => Ok(Reply::Nil),
            "$" => {
                let length: usize = rest.parse().map_err(|_| strange(&line))?;
                let mut bytes = Vec::new();
                (&mut self.0).take(length as u64 + 2).read_to_end(&mut bytes)?;
                let text = bytes.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok(Reply::Text(String::from_utf8_lossy(text).into_owned()))
            }
            "*" => {
                let length: usize = rest.parse().map_err(|_| strange(&line))?;
                (0..length).map(|_| self.reply()).collect::<io::Result<_>>().map(Reply::Array)
            }
            _ => Err(strange(&line)),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn strange(line: &str) -> io::Error {
    io::Error::other(format!("not an answer of Redis: {line:?}"))
}
