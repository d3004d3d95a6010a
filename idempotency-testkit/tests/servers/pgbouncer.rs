//! A pooler before a Postgres server.

use idempotency_testkit::proxy::Proxy;
use idempotency_testkit::servers::{PgBouncer, Postgres, ServerError};

use crate::redis::{ANSWER, QUIET};

#[test]
fn a_pooler_answers_pauses_dies_and_comes_back() {
    let postgres = Postgres::new().own().start().unwrap();
    let pooler = PgBouncer::start(&postgres).unwrap();
    pooler.ping(ANSWER).unwrap();

    pooler.pause().unwrap();
    assert!(matches!(pooler.ping(QUIET), Err(ServerError::Io { .. })));
    pooler.resume().unwrap();
    pooler.ping(ANSWER).unwrap();

    let address = pooler.address().to_owned();
    pooler.kill().unwrap();
    assert!(pooler.ping(QUIET).is_err());
    assert!(matches!(pooler.pause(), Err(ServerError::NotRunning { .. })));
    pooler.restart().unwrap();
    assert_eq!(pooler.address(), address);
    pooler.ping(ANSWER).unwrap();

    // It is that server's.
    postgres.kill().unwrap();
    pooler.restart().unwrap_err();
}

#[test]
fn a_url_leads_through_it() {
    let (postgres, pooler) = (Postgres::shared().unwrap(), PgBouncer::shared().unwrap());
    let url = postgres.fresh_database().unwrap();
    assert_eq!(pooler.url(&url), url.replace(postgres.address(), pooler.address()));
    let proxy = Proxy::start(pooler.address()).unwrap();
    assert_eq!(pooler.url_through(&proxy, &url), url.replace(postgres.address(), &proxy.address().to_string()));
}
