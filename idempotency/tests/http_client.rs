//! The client's side by the facade alone.

#![cfg(feature = "http-client")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use idempotency::http::client::reqwest_middleware::ClientBuilder;
use idempotency::http::client::{ClientKey, IdempotencyMiddleware, ReplayExt, reqwest};

/// Takes one request on each connection: closes the first without an answer, and answers the second. Gives
/// both heads.
fn unreliable(listener: &TcpListener) -> Vec<String> {
    let take = |answer: &[u8]| {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            connection.read_exact(&mut byte).expect("a whole head");
            head.push(byte[0]);
        }
        connection.write_all(answer).expect("a client that waits");
        String::from_utf8(head).expect("text")
    };
    let answer = b"HTTP/1.1 200 OK\r\nIdempotency-Replayed: true\r\nContent-Length: 4\r\n\r\npaid";
    [&b""[..], answer].map(take).into()
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/payments", listener.local_addr()?);
    let server = thread::spawn(move || unreliable(&listener));

    let client = reqwest::Client::builder().no_proxy().build()?;
    let client = ClientBuilder::new(client).with(IdempotencyMiddleware::new()).build();
    let paid = client.post(url).with_extension(ClientKey::new("order-42")?).send().await?;

    assert!(paid.is_replay());
    assert_eq!(paid.text().await?, "paid");
    let heads = server.join().expect("both requests");
    assert!(heads.iter().all(|head| head.to_lowercase().contains("idempotency-key: \"order-42\"")), "{heads:?}");
    Ok(())
}
