//! Limits of attempts and of time, and bodies that can be sent only once.

use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use idempotency_http::client::{Last, Limit};
use idempotency_testkit::proxy::{Direction, Proxy};

use super::{Log, client, gave_up, quick};

/// Always answers this, outside of the layer: as a gateway does.
async fn always(status: StatusCode) -> (String, Log) {
    let (to, log) = Log::serve(Router::new().route("/", post(move || async move { status })), "idempotency-key").await;
    (format!("http://{to}/"), log)
}

#[tokio::test]
async fn attempts_are_limited_and_all_have_the_key() {
    let (url, log) = always(StatusCode::SERVICE_UNAVAILABLE).await;
    let given_up = gave_up(client(quick().with_attempts(4), |once| once).post(&url).send().await.unwrap_err());
    assert_eq!((given_up.limit, given_up.attempts), (Limit::Attempts, 4));
    assert_eq!(given_up.last.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    log.one_key_of(4);
}

#[tokio::test]
async fn one_attempt_is_no_retry_and_other_statuses_are_answers() {
    let (url, log) = always(StatusCode::SERVICE_UNAVAILABLE).await;
    for attempts in [0, 1] {
        let given_up =
            gave_up(client(quick().with_attempts(attempts), |once| once).post(&url).send().await.unwrap_err());
        assert_eq!((given_up.limit, given_up.attempts), (Limit::Attempts, 1));
    }
    let none = client(quick().with_statuses([]), |once| once).post(&url).send().await.unwrap();
    assert_eq!((none.status(), log.all().len()), (StatusCode::SERVICE_UNAVAILABLE, 3));
}

#[tokio::test]
async fn the_whole_time_is_limited_also_where_no_answer_comes() {
    let (url, log) = always(StatusCode::OK).await;
    let proxy = Proxy::start(url.trim_start_matches("http://").trim_end_matches('/')).unwrap();
    proxy.black_hole(Direction::ToClient);
    let retry = quick().with_total_time(Duration::from_secs(1)).with_attempt_time(Duration::from_millis(200));
    let begun = Instant::now();
    let given_up = client(retry, |once| once).post(format!("http://{}/", proxy.address())).send().await.unwrap_err();
    let took = begun.elapsed();
    assert!(given_up.to_string().contains("no answer came in"), "{given_up}");
    let given_up = gave_up(given_up);
    assert!(given_up.limit == Limit::Time && matches!(given_up.last, Last::TimedOut(_)), "{given_up:?}");
    assert!(given_up.attempts >= 2 && took >= Duration::from_millis(800), "{given_up:?} in {took:?}");
    log.one_key_of(log.all().len());
}

#[cfg(feature = "server")]
#[tokio::test]
async fn a_body_that_is_a_stream_is_sent_once_and_the_error_says_so() {
    use axum::body::Bytes;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use idempotency_http::client::ReplayExt;
    use idempotency_http::server::IdempotencyLayer;

    use crate::support::{Runs, memory};

    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move |body: Bytes| async move {
        counted.one();
        body
    };
    let layer = IdempotencyLayer::new(memory());
    let (to, log) = Log::serve(Router::new().route("/", post(handler).layer(layer)), "idempotency-key").await;
    let proxy = Proxy::start(to).unwrap();
    let client = client(quick(), |once| once);
    let send = || {
        let pieces = ["amount", "=5"].map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(piece))));
        let body = reqwest::Body::wrap(StreamBody::new(stream::iter(pieces)));
        client.post(format!("http://{}/", proxy.address())).body(body).send()
    };
    let answer = send().await.unwrap();
    assert!(answer.sent().unwrap().key.is_some());
    assert_eq!(answer.text().await.unwrap(), "amount=5");

    proxy.cut_after(Direction::ToClient, 0);
    let error = send().await.unwrap_err();
    assert!(error.to_string().contains("a stream, which can be sent only once"), "{error}");
    let given_up = gave_up(error);
    assert_eq!((given_up.limit, given_up.attempts), (Limit::Body, 1));
    assert_eq!((log.all().len(), runs.count()), (2, 2));
    // With its key, the caller can send it anew.
    let again = client.post(format!("http://{}/", proxy.address())).body("amount=5");
    let again = again.header("idempotency-key", given_up.key.unwrap().to_value()).send().await.unwrap();
    assert!(again.is_replay());
}
