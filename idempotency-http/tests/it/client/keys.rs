//! Which key a request has, and how it is written.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use idempotency_http::client::{
    ClientError, ClientKey, IdempotencyMiddleware, KeyFile, KeyStoreError, Operation, ReplayExt, Spelling,
};
use idempotency_http::header::HeaderKey;

use super::{Log, client, quick, told};

async fn service(header: &'static str) -> (String, Log) {
    let (to, log) = Log::serve(Router::new().route("/", any(async || "done")), header).await;
    (format!("http://{to}/"), log)
}

#[tokio::test]
async fn each_logical_request_has_a_key_of_its_own_where_it_is_to_have_one() {
    let (url, log) = service("idempotency-key").await;
    let client = client(quick(), |once| once);
    for method in ["POST", "POST", "PATCH", "GET", "PUT", "DELETE"] {
        client.request(method.parse().unwrap(), &url).send().await.unwrap();
    }
    let keys: Vec<Vec<String>> = log.all().into_iter().map(|asked| asked.keys).collect();
    assert!(keys[..3].iter().all(|key| key.len() == 1 && key[0].len() == 38), "{keys:?}");
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "{keys:?}");
    assert!(keys[3..].iter().all(Vec::is_empty), "{keys:?}");
}

#[tokio::test]
async fn what_the_caller_has_set_is_sent_as_it_is() {
    let (url, log) = service("idempotency-key").await;
    let client = client(quick(), |once| once);
    for (set, read) in [("mine", Some("mine")), ("\"mine\"", Some("mine")), ("not valid \"", None), ("", None)] {
        let request = client.get(&url).header("Idempotency-Key", set).with_extension(ClientKey::random());
        let answer = request.send().await.unwrap();
        assert_eq!(log.all().last().unwrap().keys, [set]);
        assert_eq!(answer.sent().unwrap().key.as_ref().map(HeaderKey::as_str), read, "{set}");
    }
}

#[tokio::test]
async fn a_key_is_written_as_the_server_wants_it() {
    for (spelling, expected) in [(Spelling::Quoted, "\"order-42\""), (Spelling::Bare, "order-42")] {
        let (url, log) = service("x-idempotency-key").await;
        let header = reqwest::header::HeaderName::from_static("x-idempotency-key");
        let change = |once: IdempotencyMiddleware| once.with_header_name(header).with_spelling(spelling);
        let client = client(quick(), change);
        let ask = |key: &str| client.get(&url).with_extension(ClientKey::new(key).unwrap()).send();
        ask("order-42").await.unwrap();
        assert_eq!(log.all()[0].keys, [expected]);
        let spaced = ask("order 42, \"x\"").await;
        if spelling == Spelling::Bare {
            assert!(matches!(told(spaced.unwrap_err()), ClientError::NotBare));
            assert_eq!(log.all().len(), 1, "nothing was sent");
        } else {
            assert_eq!(log.all()[1].keys, ["\"order 42, \\\"x\\\"\""]);
        }
    }
}

#[tokio::test]
async fn a_named_operation_has_one_key_until_it_is_forgotten() {
    use idempotency_http::client::KeyStore as _;

    let (url, log) = service("idempotency-key").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let mut keys = Vec::new();
    for forget in [false, false, true, false] {
        // As after a restart.
        let store = std::sync::Arc::new(KeyFile::open(&file).unwrap());
        let client = client(quick(), |once| once.with_key_store(store.clone()));
        client.post(&url).with_extension(Operation::new("order-42").unwrap()).send().await.unwrap();
        client.post(&url).with_extension(Operation::new("order-43").unwrap()).send().await.unwrap();
        let asked = log.all();
        keys.push(asked[asked.len() - 2].keys.clone());
        assert_ne!(asked[asked.len() - 2].keys, asked[asked.len() - 1].keys);
        if forget {
            store.forget("order-42").await.unwrap();
        }
    }
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
}

#[tokio::test]
async fn where_a_key_cannot_be_kept_nothing_is_sent() {
    let (url, log) = service("idempotency-key").await;
    let operation = Operation::new("order-42").unwrap();
    let without = client(quick(), |once| once).post(&url).with_extension(operation.clone()).send().await;
    let without = told(without.unwrap_err());
    assert!(matches!(&without, ClientError::NoKeyStore { operation } if operation == "order-42"), "{without:?}");

    let folder = tempfile::tempdir().unwrap();
    let full = KeyFile::open(folder.path().join("keys")).unwrap().with_most(0);
    let full = client(quick(), |once| once.with_key_store(full)).post(&url).with_extension(operation).send().await;
    assert!(matches!(told(full.unwrap_err()), ClientError::KeyStore(KeyStoreError::Full { most: 0 })));
    assert!(log.all().is_empty());
}

/// A server that reads keys refuses these; one that does not must not get the request twice.
#[tokio::test]
async fn a_header_without_a_key_is_no_leave_to_send_again() {
    let router = Router::new().route("/", any(async || StatusCode::SERVICE_UNAVAILABLE));
    let (to, log) = Log::serve(router, "idempotency-key").await;
    let client = client(quick(), |once| once);
    for set in ["", "\"", "one, two"] {
        let answer = client.post(format!("http://{to}/")).header("Idempotency-Key", set).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{set:?}");
        assert_eq!(log.all().last().unwrap().keys, [set]);
    }
    assert_eq!(log.all().len(), 3, "each was sent once");
}
