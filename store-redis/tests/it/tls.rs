//! Encrypted connections, to a server with a certificate of our own making.

use std::net::TcpListener;

use idempotency_core::{Claim, Fingerprint, IdempotencyStore, Key, StoreErrorKind};
use idempotency_store_redis::redis::{Client, TlsCertificates};
use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::servers::{Redis, RedisServer};

struct Encrypted {
    _server: RedisServer,
    _folder: tempfile::TempDir,
    url: String,
    certificate: Vec<u8>,
}

fn encrypted() -> Encrypted {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    // Taken and let go: another could take it meanwhile, and the server would say so.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Redis::new()
        .own()
        .with_arg("tls-port", port.to_string())
        .with_arg("tls-cert-file", certificate.to_str().unwrap())
        .with_arg("tls-key-file", key.to_str().unwrap())
        .with_arg("tls-auth-clients", "no")
        .start()
        .unwrap();
    Encrypted {
        _server: server,
        _folder: folder,
        url: format!("rediss://localhost:{port}"),
        certificate: made.cert.pem().into_bytes(),
    }
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_is_served() {
    let server = encrypted();
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(server.certificate.clone()) };
    let client = Client::build_with_tls(server.url.as_str(), certificates).unwrap();
    let store = RedisStore::open(RedisStoreConfig::from_client(&client)).await.unwrap();
    let key = Key::new("payment:create", "ord_42").build().unwrap();
    store.acquire_lock(&key, &Claim::new(Fingerprint::NONE)).await.unwrap();
    assert!(store.get(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = encrypted();
    let error = RedisStore::open(RedisStoreConfig::from_url(&server.url).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("certificate"), "{source}");
}
