//! What people see of the records in psql.

use idempotency_core::{Context, Error, Idempotency, Json, Key};
use idempotency_store_postgres::sqlx::postgres::PgConnectOptions;
use idempotency_store_postgres::sqlx::{self, AssertSqlSafe, PgPool, Row};
use idempotency_store_postgres::{Names, PostgresStore, PostgresStoreConfig};
use idempotency_testkit::servers::Postgres;
use serde::{Deserialize, Serialize};

use crate::support;

#[derive(Serialize, Deserialize)]
struct Paid {
    amount: u32,
    note: String,
}

/// A store, and its view by the driver itself.
async fn opened() -> (PostgresStore, PgPool, Names) {
    let pool = PgPool::connect(&Postgres::shared().unwrap().url()).await.unwrap();
    let names = support::names();
    let config = PostgresStoreConfig::from_pool(pool.clone()).with_names(names.clone());
    (PostgresStore::open(config).await.unwrap(), pool, names)
}

async fn seen(pool: &PgPool, names: &Names, columns: &str, key: &Key) -> Vec<Option<String>> {
    let (schema, table) = (names.schema(), names.table());
    let texts = columns.split(',').map(|column| format!("({column})::text")).collect::<Vec<_>>().join(", ");
    let fence = format!("SELECT fence FROM {schema}.{table} WHERE key = $1");
    let sql = format!("SELECT {texts} FROM {schema}.{table}_readable WHERE fence = ({fence})");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(key.as_str()).fetch_one(pool).await.unwrap();
    (0..row.len()).map(|column| row.get(column)).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[tokio::test]
async fn a_record_is_read_by_people() {
    let (store, pool, names) = opened().await;
    let handle = Idempotency::new(store).with_codec(Json);
    let key = Key::new("payment:create", "ord/42").scope("shop").build().unwrap();
    let context = Context::default().with_correlation_id("c-1").unwrap();
    let call = handle.call(&key).context(context).attribute("source", "web");
    let looked = {
        let (pool, names, key) = (pool.clone(), names.clone(), key.clone());
        async move { seen(&pool, &names, "state,attempt,lease_until > now(),completed_at IS NULL", &key).await }
    };
    let run = call.run(async move |_| {
        let running = looked.await;
        assert_eq!(running, some(&["in progress", "1", "true", "true"]));
        Ok::<_, Error>(Paid { amount: 1999, note: "it's \"paid\" – 7 €".into() })
    });
    drop(run.await.unwrap());

    let columns = "scope,operation,id,state,correlation_id,attributes->>'source',result->>'amount',result->>'note'";
    let read = seen(&pool, &names, columns, &key).await;
    let id = read[2].clone().unwrap();
    assert!(id.starts_with("ord") && id.ends_with("42"), "{id}");
    let expected = ["shop", "payment:create", &id, "completed", "c-1", "web", "1999", "it's \"paid\" – 7 €"];
    assert_eq!(read, some(&expected));
}

#[tokio::test]
async fn a_result_that_is_not_json_is_not_shown_as_such_nor_is_a_damaged_one() {
    let (store, pool, names) = opened().await;
    let binary = Key::new("payment:create", "binary").build().unwrap();
    let paid = async { Ok::<_, Error>(Paid { amount: 1, note: String::new() }) };
    drop(Idempotency::new(store.clone()).execute_once(&binary, paid).await.unwrap());
    assert_eq!(seen(&pool, &names, "value_bytes > 10,result IS NULL", &binary).await, some(&["true", "true"]));

    let damaged = Key::new("payment:create", "damaged").build().unwrap();
    let paid = async { Ok::<_, Error>(Paid { amount: 1, note: String::new() }) };
    drop(Idempotency::new(store).with_codec(Json).execute_once(&damaged, paid).await.unwrap());
    assert_eq!(seen(&pool, &names, "result->>'amount'", &damaged).await, some(&["1"]));
    for value in [r"\x", r"\x697601", r"\x697601ff", r"\x697601046a736f6e00ff00112233"] {
        let sql = format!("UPDATE {}.{} SET value = $1::bytea WHERE key = $2", names.schema(), names.table());
        let update = sqlx::query(AssertSqlSafe(sql)).bind(hex(value)).bind(damaged.as_str());
        assert_eq!(update.execute(&pool).await.unwrap().rows_affected(), 1);
        assert_eq!(seen(&pool, &names, "result IS NULL", &damaged).await, some(&["true"]), "{value}");
    }
}

/// The bytes of a `bytea` as Postgres prints it.
fn hex(text: &str) -> Vec<u8> {
    let digits = &text.as_bytes()[2..];
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Whatever a backslash means in the texts of whoever looks.
#[tokio::test]
async fn a_result_is_read_with_old_strings_too() {
    let (store, _, names) = opened().await;
    let key = Key::new("payment:create", "old strings").build().unwrap();
    let paid = async { Ok::<_, Error>(Paid { amount: 1, note: String::new() }) };
    drop(Idempotency::new(store).with_codec(Json).execute_once(&key, paid).await.unwrap());
    let old: PgConnectOptions = Postgres::shared().unwrap().url().parse().unwrap();
    let old = PgPool::connect_with(old.options([("standard_conforming_strings", "off")])).await.unwrap();
    assert_eq!(seen(&old, &names, "result->>'amount'", &key).await, some(&["1"]));
}
