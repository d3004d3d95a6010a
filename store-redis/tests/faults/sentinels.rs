//! Sentinels that know no better.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use idempotency_store_redis::RedisStore;

use crate::support::{config, runtime, server};

/// A sentinel that says after a while where the master is; its own address.
fn sentinel(master: &str, after: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (host, port) = master.rsplit_once(':').unwrap();
    let answer = format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || converse(stream, &answer, after));
        }
    });
    address
}

fn converse(mut stream: TcpStream, answer: &str, after: Duration) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        let asked = String::from_utf8_lossy(&bytes[..read]).to_lowercase();
        let hello = if asked.contains("hello") { "%1\r\n+server\r\n+redis\r\n" } else { "" };
        let mut said = format!("{hello}{}", "+OK\r\n".repeat(asked.matches("setinfo").count()));
        if asked.contains("get-master-addr-by-name") {
            thread::sleep(after);
            said += answer;
        }
        if stream.write_all(said.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn one_that_names_a_master_of_the_past_does_not_hide_the_present_one() {
    let (runtime, server) = (runtime(), server());
    let past = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let behind = sentinel(&past, Duration::ZERO);
    let right = sentinel(server.address(), Duration::from_millis(100));
    let url = format!("redis-sentinel://{behind},{right}/mymaster");
    runtime.block_on(RedisStore::open(config(&url))).unwrap();
}
