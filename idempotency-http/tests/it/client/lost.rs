//! Answers that are lost, servers that are not there.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, post};
use idempotency_http::client::{Limit, ReplayExt, Retry};
use idempotency_http::server::{IdempotencyLayer, Policy};
use idempotency_testkit::processes::Random;
use idempotency_testkit::proxy::{Direction, Proxy};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Log, client, gave_up, quick, until};
use crate::support::wire::LONG;
use crate::support::{Runs, memory};

const LENGTH: usize = 2_000;

/// A service whose answers are of some length, and a proxy in front of it.
async fn service() -> (Proxy, Log, Runs) {
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move || async move { format!("{:0>LENGTH$}", counted.one()) };
    let layer = IdempotencyLayer::new(memory()).with_policy(Policy::new().with_wait(LONG).unwrap());
    let router = Router::new().route("/", post(handler).layer(layer));
    let (to, log) = Log::serve(router, "idempotency-key").await;
    (Proxy::start(to).unwrap(), log, runs)
}

fn url(to: SocketAddr) -> String {
    format!("http://{to}/")
}

#[tokio::test]
async fn an_answer_that_is_lost_at_any_byte_is_asked_for_again_with_the_same_key() {
    for lost_after in [0, 1, 20, 150, 400, 1_000, 2_000] {
        let (proxy, log, runs) = service().await;
        proxy.cut_after(Direction::ToClient, lost_after);
        let answer = client(quick(), |once| once).post(url(proxy.address())).body("amount=5").send().await.unwrap();
        let sent = answer.sent().unwrap().clone();
        assert!(answer.is_replay(), "{lost_after}: {answer:?}");
        assert_eq!((sent.attempts, runs.count()), (2, 1), "{lost_after}");
        let key = log.one_key_of(2);
        assert_eq!(key, format!("\"{}\"", sent.key.unwrap().as_str()), "{lost_after}");
        assert_eq!(answer.text().await.unwrap(), format!("{:0>LENGTH$}", 1), "{lost_after}");
    }
}

#[tokio::test]
async fn a_large_answer_is_the_callers_from_its_head_on() {
    let (proxy, log, _) = service().await;
    proxy.cut_after(Direction::ToClient, 1_000);
    let client = client(quick(), |once| once.with_whole_answers(100));
    let answer = client.post(url(proxy.address())).send().await.unwrap();
    let key = answer.sent().unwrap().key.clone().unwrap();
    assert!(answer.text().await.is_err(), "it broke off");
    let again = client.post(url(proxy.address())).header("idempotency-key", key.to_value()).send().await.unwrap();
    assert!(again.is_replay());
    log.one_key_of(2);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_sent_again() {
    let (proxy, log, runs) = service().await;
    proxy.cut_after(Direction::ToServer, 60);
    let answer = client(quick(), |once| once).post(url(proxy.address())).body("x".repeat(500)).send().await.unwrap();
    assert_eq!((answer.sent().unwrap().attempts, runs.count()), (2, 1));
    // Of the first, the server saw no whole head.
    log.one_key_of(1);
}

#[tokio::test]
async fn where_no_answer_comes_in_time_it_is_asked_for_again() {
    let (proxy, log, runs) = service().await;
    proxy.black_hole(Direction::ToClient);
    let client = client(quick().with_attempt_time(Duration::from_millis(100)), |once| once);
    let to = url(proxy.address());
    let asking = tokio::spawn(async move { client.post(to).send().await });
    until(|| log.all().len() > 1).await;
    proxy.heal();
    let answer = asking.await.unwrap().unwrap();
    assert!(answer.is_replay() && answer.sent().unwrap().attempts >= 2, "{answer:?}");
    assert_eq!(runs.count(), 1);
    log.one_key_of(log.all().len());
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for_and_not_for_ever() {
    let (proxy, log, runs) = service().await;
    proxy.refuse();
    let given_up = client(quick().with_attempts(3), |once| once).post(url(proxy.address())).send().await.unwrap_err();
    assert!(given_up.to_string().contains("the connection failed, and the request was sent as often as it may be (3)"));
    let given_up = gave_up(given_up);
    assert_eq!((given_up.limit, given_up.attempts), (Limit::Attempts, 3));
    assert!(std::error::Error::source(&given_up).is_some(), "{given_up:?}");
    assert_eq!((proxy.counts().connections, log.all().len()), (3, 0));

    let to = url(proxy.address());
    let asking = tokio::spawn(async move { client(quick().with_attempts(10_000), |once| once).post(to).send().await });
    until(|| proxy.counts().connections > 5).await;
    proxy.heal();
    assert!(!asking.await.unwrap().unwrap().is_replay());
    assert_eq!((runs.count(), log.all().len()), (1, 1));
}

#[tokio::test]
async fn without_a_key_only_what_is_idempotent_is_sent_again() {
    let runs = Runs::default();
    let counted = runs.clone();
    let (to, log) =
        Log::serve(Router::new().route("/", any(move || async move { counted.one().to_string() })), "x").await;
    let proxy = Proxy::start(to).unwrap();
    for (method, again) in [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("PUT", true),
        ("DELETE", true),
        ("POST", false),
        ("PATCH", false),
    ] {
        let before = log.all().len();
        // With a connection of its own: one that was cut while idle would fail before anything is sent.
        let client = client(quick(), |once| once.with_methods([]));
        proxy.cut_after(Direction::ToClient, 0);
        let method: reqwest::Method = method.parse().unwrap();
        let answer = client.request(method.clone(), url(proxy.address())).send().await;
        assert_eq!(answer.is_ok(), again, "{method}: {answer:?}");
        assert_eq!(log.all().len() - before, if again { 2 } else { 1 }, "{method}");
        assert!(answer.is_err() || answer.unwrap().sent().unwrap().key.is_none());
    }
    assert!(log.all().iter().all(|asked| asked.keys.is_empty()));
}

/// 300 requests through a network that cuts all connections again and again: effects = distinct keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_keeps_cutting_leaves_one_effect_a_request() {
    let (proxy, log, runs) = service().await;
    let client = client(
        Retry::new().with_attempts(10_000).with_pauses(Duration::from_millis(5), Duration::from_millis(20)),
        |once| once,
    );
    let (to, at_once) = (url(proxy.address()), Arc::new(Semaphore::new(20)));
    let mut asking = JoinSet::new();
    for number in 0..300 {
        let (client, to, at_once) = (client.clone(), to.clone(), at_once.clone());
        asking.spawn(async move {
            let _one = at_once.acquire().await.unwrap();
            let answer = client.post(to).body(format!("amount={number}")).send().await.unwrap();
            (answer.sent().unwrap().attempts, answer.text().await.unwrap())
        });
    }
    let mut random = Random::new(7);
    let (mut answers, mut again) = (HashSet::new(), 0);
    while let Some(answer) = asking.join_next().await {
        let (attempts, answer) = answer.unwrap();
        again += u64::from(attempts > 1);
        assert!(answers.insert(answer), "two requests have one answer");
        if random.below(3) == 0 {
            proxy.cut_after(Direction::ToClient, random.below(10_000));
        }
    }
    assert_eq!((answers.len(), runs.count()), (300, 300));
    let keys: HashSet<Vec<String>> = log.all().into_iter().map(|asked| asked.keys).collect();
    assert_eq!(keys.len(), 300);
    assert!(again > 20 && log.all().len() > 300, "the network did no harm: {again} sent again");
}
