//! What answers mean: conflicts, refusals, replays, and when to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use idempotency::OnUnknown;
use idempotency_http::client::{ClientError, ClientKey, KeyFile, Limit, Operation, ReplayExt};
use idempotency_http::names::Status;
use idempotency_http::server::{Finality, IdempotencyLayer, Policy};
use idempotency_testkit::Method;
use idempotency_testkit::faults::Fault;
use tokio::sync::Semaphore;

use super::{Log, client, gave_up, quick, told, until};
use crate::support::{Runs, faulty, memory};

const HEADER: &str = "idempotency-key";

#[tokio::test]
async fn a_duplicate_waits_for_the_first_and_gets_its_answer() {
    let (go, runs) = (Arc::new(Semaphore::new(0)), Runs::default());
    let (gate, counted) = (go.clone(), runs.clone());
    let handler = move || async move {
        let _pass = gate.acquire().await.unwrap();
        counted.one().to_string()
    };
    let layer = IdempotencyLayer::new(memory());
    let (to, log) = Log::serve(Router::new().route("/", post(handler).layer(layer)), HEADER).await;
    let key = ClientKey::new("order-42").unwrap();
    let ask = || {
        let request = client(quick(), |once| once).post(format!("http://{to}/")).with_extension(key.clone());
        tokio::spawn(request.send())
    };
    let first = ask();
    until(|| log.all().len() == 1).await;
    let second = ask();
    until(|| log.statuses().contains(&Some(409))).await;
    go.add_permits(1);
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert!(!first.is_replay() && first.key_status() == Some(Status::Recorded), "{first:?}");
    assert!(second.is_replay() && second.key_status() == Some(Status::Replayed), "{second:?}");
    assert!(first.remaining_life() > Some(Duration::from_secs(86_000)), "{first:?}");
    assert!(second.remaining_life() <= first.remaining_life() && second.remaining_life().is_some());
    assert!(second.sent().unwrap().attempts > 1 && runs.count() == 1);
    assert_eq!(second.text().await.unwrap(), "1");
    assert_eq!(log.one_key_of(log.all().len()), "\"order-42\"");
    // `Retry-After: 1`, honoured.
    let asked = log.all();
    assert!(asked[2].at - asked[1].at >= Duration::from_secs(1), "{asked:?}");
}

#[tokio::test]
async fn a_store_that_is_down_for_a_while_is_waited_for() {
    let (faults, idempotency) = faulty();
    let runs = Runs::default();
    let counted = runs.clone();
    let layer = IdempotencyLayer::new(idempotency);
    let handler = move || async move { counted.one().to_string() };
    let (to, log) = Log::serve(Router::new().route("/", post(handler).layer(layer)), HEADER).await;
    faults.always(Method::Acquire, Fault::DOWN);
    let asking = tokio::spawn(client(quick(), |once| once).post(format!("http://{to}/")).send());
    until(|| log.statuses().contains(&Some(503))).await;
    faults.heal();
    let answer = asking.await.unwrap().unwrap();
    assert_eq!((answer.status(), runs.count()), (StatusCode::OK, 1));
    log.one_key_of(2);
}

/// Answers 503 with this header so often, and then 200.
async fn busy(
    times: u64,
    headers: impl Fn() -> Vec<(header::HeaderName, String)> + Clone + Send + Sync + 'static,
) -> (String, Log) {
    let left = Arc::new(AtomicU64::new(times));
    let handler = move || async move {
        let is_busy = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let mut response = if is_busy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }.into_response();
        for (name, value) in headers() {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    };
    let (to, log) = Log::serve(Router::new().route("/", post(handler)), HEADER).await;
    (format!("http://{to}/"), log)
}

fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[tokio::test]
async fn a_date_to_come_back_at_is_honoured_by_the_servers_clock() {
    // The server's clock stands in 1970.
    let (url, log) = busy(1, || vec![(header::DATE, date(1_000)), (header::RETRY_AFTER, date(1_002))]).await;
    assert_eq!(client(quick(), |once| once).post(url).send().await.unwrap().status(), StatusCode::OK);
    log.one_key_of(2);
    let asked = log.all();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(2), "{asked:?}");
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_given_up_at_once() {
    let (url, log) = busy(9, || vec![(header::RETRY_AFTER, "3600".to_owned())]).await;
    let error = client(quick(), |once| once).post(url).send().await.unwrap_err();
    assert!(error.to_string().contains("503") && error.to_string().contains("ask again with the same key"), "{error}");
    let given_up = gave_up(error);
    assert_eq!((given_up.limit, given_up.attempts), (Limit::Time, 1));
    assert_eq!(given_up.last.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(log.one_key_of(1), format!("\"{}\"", given_up.key.unwrap().as_str()));
}

/// A route whose answer is kept as its path says, under both policies for what is unknown.
async fn kept() -> (String, Log) {
    let handler = |Path(how): Path<String>| async move {
        let response: Response = match how.as_str() {
            "conflict" => StatusCode::CONFLICT.into_response(),
            "fact" => (axum::Extension(Finality::FactOnly), "made").into_response(),
            "unknown" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => "paid".into_response(),
        };
        response
    };
    let layer = IdempotencyLayer::new(memory()).with_policy(Policy::new().with_on_unknown(OnUnknown::Refuse));
    let (to, log) = Log::serve(Router::new().route("/{how}", post(handler).layer(layer)), HEADER).await;
    (format!("http://{to}"), log)
}

#[tokio::test]
async fn a_key_used_for_another_request_says_what_it_means() {
    let (to, log) = kept().await;
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(KeyFile::open(folder.path().join("keys")).unwrap());
    let client = client(quick(), |once| once.with_key_store(keys));
    let ask = |amount: &'static str| {
        client.post(format!("{to}/paid")).with_extension(Operation::new("order-42").unwrap()).body(amount).send()
    };
    assert!(!ask("5").await.unwrap().is_replay());
    assert!(ask("5").await.unwrap().is_replay());
    let error = ask("6").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key was used for another request, so this one was not carried out: a new request needs a new key; it is \
         kept for the operation `order-42`"
    );
    assert!(matches!(ClientError::of(&error), Some(ClientError::KeyReused { .. })));
    let ClientError::KeyReused { operation, response } = told(error) else { panic!("another error") };
    assert_eq!((operation.as_deref(), response.status().as_u16()), (Some("order-42"), 422));
    // The answer is whole, though it was read.
    assert!(response.text().await.unwrap().contains("/problems/key-reused"));
    log.one_key_of(3);
}

#[tokio::test]
async fn conflicts_that_stay_are_not_asked_again() {
    let (to, log) = kept().await;
    let client = client(quick(), |once| once);
    let ask = |how: &str| client.post(format!("{to}/{how}")).with_extension(ClientKey::new(how).unwrap()).send();
    assert_eq!(ask("fact").await.unwrap().key_status(), Some(Status::NotReplayable));
    let error = told(ask("fact").await.unwrap_err());
    assert!(matches!(error, ClientError::AnswerNotKept { .. }) && error.to_string().contains("look up"), "{error:?}");
    assert_eq!(ask("unknown").await.unwrap().key_status(), Some(Status::Unknown));
    let error = told(ask("unknown").await.unwrap_err());
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(log.all().len(), 4, "each was sent once");
    // The handler's own conflict is an answer like any other.
    assert_eq!(ask("conflict").await.unwrap().status(), StatusCode::CONFLICT);
    assert_eq!(log.all().len(), 5);
}

#[tokio::test]
async fn a_run_after_an_unknown_one_is_told() {
    let runs = Runs::default();
    let handler = move || async move { if runs.one() == 1 { StatusCode::BAD_GATEWAY } else { StatusCode::OK } };
    let layer = IdempotencyLayer::new(memory());
    let (to, log) = Log::serve(Router::new().route("/", post(handler).layer(layer)), HEADER).await;
    let answer = client(quick(), |once| once).post(format!("http://{to}/")).send().await.unwrap();
    assert!(answer.status() == StatusCode::OK && answer.follows_unknown() && !answer.is_replay(), "{answer:?}");
    log.one_key_of(2);
}

/// Fail-open: nothing would keep a second sending from running again.
#[tokio::test]
async fn what_failed_without_protection_is_not_sent_again() {
    let (faults, idempotency) = faulty();
    faults.always(Method::Acquire, Fault::DOWN);
    let layer = IdempotencyLayer::new(idempotency).with_policy(Policy::new().with_fail_open());
    let handler = async || StatusCode::SERVICE_UNAVAILABLE;
    let (to, log) = Log::serve(Router::new().route("/", post(handler).layer(layer)), HEADER).await;
    let answer = client(quick(), |once| once).post(format!("http://{to}/")).send().await.unwrap();
    assert_eq!(answer.key_status(), Some(Status::Unprotected), "{answer:?}");
    log.one_key_of(1);
}
