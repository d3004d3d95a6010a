//! A record as a row.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{
    Attributes, Completion, Context, Ended, Fence, Fingerprint, Key, Lock, Omitted, OnUnknown, Owner, Prior, Record,
    State, Timestamp,
};
use sha2::{Digest, Sha256};
use sqlx::Postgres;
use sqlx::Row;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

/// A key's text is its primary key, up to this length: an index takes no more than 2,700 bytes.
const LONGEST_TEXT: usize = 1024;

/// What a row is found by, and the whole text of a key that is too long for that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) key: String,
    pub(crate) long: Option<String>,
}

impl Name {
    pub(crate) fn of(key: &Key) -> Self {
        let text = key.as_str();
        if text.len() <= LONGEST_TEXT {
            return Self { key: text.into(), long: None };
        }
        // No key's text begins so: its second part is missing.
        let digest = Sha256::digest(text);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { key: format!("#{hex}"), long: Some(text.into()) }
    }
}

/// A row that is not as this module writes it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Garbled {
    #[error("a row that does not make a record: {0}")]
    Row(&'static str),
    #[error("a row that cannot be read")]
    Column(#[from] sqlx::Error),
}

/// A record, and the version of its row.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    pub(crate) version: String,
}

/// Reads a record from the row's columns; `None` where they are those of no record.
pub(crate) fn read(row: &PgRow) -> Result<Option<Stored>, Garbled> {
    let Some(version) = row.try_get::<Option<String>, _>("version")? else { return Ok(None) };
    let number = |column: &str| Ok::<u64, Garbled>(from_i64(row.try_get::<i64, _>(column)?));
    let time = |column: &str| number(column).map(Timestamp::from_micros);
    let duration = |column: &str| number(column).map(Duration::from_micros);
    let state = match row.try_get::<String, _>("state")?.as_str() {
        "P" => State::InProgress {
            lease_until: time("lease_until")?,
            confirmed: row.try_get("confirmed")?,
            retention: duration("retention")?,
            unknown_retention: duration("unknown_retention")?,
        },
        "U" => State::Unknown { until: time("forgotten_at")? },
        "R" => State::Released { until: time("forgotten_at")? },
        "C" => {
            let value: Option<Vec<u8>> = row.try_get("value")?;
            let result = match (row.try_get::<i16, _>("omitted")?, value) {
                (0, Some(value)) => Completion::Value(Bytes::from(value)),
                (why, None) => Completion::Omitted(omitted(why)?),
                (_, Some(_)) => return Err(Garbled::Row("it has a value, and a reason why it has none")),
            };
            State::Completed { at: time("completed_at")?, until: time("forgotten_at")?, result }
        }
        _ => return Err(Garbled::Row("it has no such state")),
    };
    let owner: Vec<u8> = row.try_get("owner")?;
    let owner = owner.try_into().map_err(|_| Garbled::Row("its owner is not of 16 bytes"))?;
    let digest: Vec<u8> = row.try_get("fingerprint")?;
    let digest = digest.try_into().map_err(|_| Garbled::Row("its fingerprint is not of 32 bytes"))?;
    let version_of = u8::try_from(row.try_get::<i16, _>("fingerprint_version")?)
        .map_err(|_| Garbled::Row("its fingerprint is of no such version"))?;
    let prior = match row.try_get::<Option<i64>, _>("prior_attempt")? {
        None => None,
        Some(attempt) => Some(Prior {
            attempt: to_u32(attempt),
            fence: Fence::new(number("prior_fence")?),
            ended_at: time("prior_ended_at")?,
            ended: if row.try_get("prior_told")? { Ended::Told } else { Ended::Lapsed },
            remembered_until: time("prior_forgotten_at")?,
        }),
    };
    let record = Record {
        fingerprint: Fingerprint::from_parts(version_of, digest),
        lock: Lock { owner: Owner::from_u128(u128::from_be_bytes(owner)), fence: Fence::new(number("fence")?) },
        attempt: to_u32(row.try_get("attempt")?),
        prior,
        on_unknown: policy(row.try_get("on_unknown")?)?,
        acquired_at: time("acquired_at")?,
        context: context(row.try_get("trace_parent")?, row.try_get("correlation_id")?)?,
        attributes: attributes(row.try_get("attributes")?)?,
        state,
    };
    Ok(Some(Stored { record, version }))
}

/// The key that a row belongs to.
pub(crate) fn key_of(row: &PgRow) -> Result<Key, Garbled> {
    let text: String = match row.try_get::<Option<String>, _>("long_key")? {
        Some(long) => long,
        None => row.try_get("key")?,
    };
    Key::parse(text).map_err(|_| Garbled::Row("its key is none"))
}

/// Binds a record's columns in the order in which a change sets them.
pub(crate) fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    record: &Record,
    look_at: Timestamp,
) -> Query<'q, Postgres, PgArguments> {
    let (lease_until, completed_at, confirmed, retention, unknown_retention) = match &record.state {
        State::InProgress { lease_until, confirmed, retention, unknown_retention } => {
            (*lease_until, Timestamp::default(), *confirmed, *retention, *unknown_retention)
        }
        State::Unknown { .. } | State::Released { .. } => {
            (Timestamp::default(), Timestamp::default(), true, Duration::ZERO, Duration::ZERO)
        }
        State::Completed { at, .. } => (Timestamp::default(), *at, true, Duration::ZERO, Duration::ZERO),
    };
    let (omitted, value) = match &record.state {
        State::Completed { result, .. } => value_of(result),
        State::InProgress { .. } | State::Unknown { .. } | State::Released { .. } => (0, None),
    };
    let prior = record.prior;
    query
        .bind(letter(&record.state))
        .bind(record.lock.owner.as_u128().to_be_bytes().to_vec())
        .bind(to_i64(record.lock.fence.get()))
        .bind(i64::from(record.attempt))
        .bind(policy_number(record.on_unknown))
        .bind(confirmed)
        .bind(i16::from(record.fingerprint.version()))
        .bind(record.fingerprint.as_bytes().to_vec())
        .bind(time(record.acquired_at))
        .bind(time(lease_until))
        .bind(time(completed_at))
        .bind(time(record.forgotten_at()))
        .bind(micros(retention))
        .bind(micros(unknown_retention))
        .bind(prior.map(|prior| i64::from(prior.attempt)))
        .bind(prior.map(|prior| to_i64(prior.fence.get())))
        .bind(prior.map(|prior| time(prior.ended_at)))
        .bind(prior.map(|prior| prior.ended == Ended::Told))
        .bind(prior.map(|prior| time(prior.remembered_until)))
        .bind(record.context.trace_parent().map(ToOwned::to_owned))
        .bind(record.context.correlation_id().map(ToOwned::to_owned))
        .bind(attributes_text(&record.attributes))
        .bind(omitted)
        .bind(value)
        .bind(time(look_at))
}

/// How a row says what state it is in.
pub(crate) const fn letter(state: &State) -> &'static str {
    match state {
        State::InProgress { .. } => "P",
        State::Unknown { .. } => "U",
        State::Released { .. } => "R",
        State::Completed { .. } => "C",
    }
}

/// Why there is no value, or 0, and the value.
pub(crate) fn value_of(result: &Completion) -> (i16, Option<Vec<u8>>) {
    match result {
        Completion::Value(value) => (0, Some(value.to_vec())),
        Completion::Omitted(why) => {
            let why = match why {
                Omitted::ByChoice => 1,
                Omitted::NotEncodable => 2,
                Omitted::TooLarge => 3,
                Omitted::RefusedByStore => 4,
                Omitted::Settled => 5,
            };
            (why, None)
        }
    }
}

fn omitted(why: i16) -> Result<Omitted, Garbled> {
    Ok(match why {
        1 => Omitted::ByChoice,
        2 => Omitted::NotEncodable,
        3 => Omitted::TooLarge,
        4 => Omitted::RefusedByStore,
        5 => Omitted::Settled,
        _ => return Err(Garbled::Row("it has no such reason for a missing value")),
    })
}

pub(crate) const fn policy_number(policy: OnUnknown) -> i16 {
    match policy {
        OnUnknown::RunAgain => 0,
        OnUnknown::Reconcile => 1,
        OnUnknown::Refuse => 2,
    }
}

fn policy(number: i16) -> Result<OnUnknown, Garbled> {
    Ok(match number {
        0 => OnUnknown::RunAgain,
        1 => OnUnknown::Reconcile,
        2 => OnUnknown::Refuse,
        _ => return Err(Garbled::Row("it has no such policy")),
    })
}

fn context(trace_parent: Option<String>, correlation_id: Option<String>) -> Result<Context, Garbled> {
    let mut context = Context::default();
    let not_kept = |_| Garbled::Row("a note cannot be one");
    if let Some(trace_parent) = trace_parent {
        context = context.with_trace_parent(trace_parent).map_err(not_kept)?;
    }
    if let Some(correlation_id) = correlation_id {
        context = context.with_correlation_id(correlation_id).map_err(not_kept)?;
    }
    Ok(context)
}

pub(crate) fn attributes_text(attributes: &Attributes) -> Option<String> {
    let map: BTreeMap<&str, &str> = attributes.iter().collect();
    // Plain text always is JSON.
    (!map.is_empty()).then(|| serde_json::to_string(&map).unwrap_or_default())
}

fn attributes(text: Option<String>) -> Result<Attributes, Garbled> {
    let Some(text) = text else { return Ok(Attributes::default()) };
    let map: BTreeMap<String, String> =
        serde_json::from_str(&text).map_err(|_| Garbled::Row("its attributes are not texts"))?;
    map.into_iter().try_fold(Attributes::default(), |attributes, (name, value)| {
        attributes.with(name, value).map_err(|_| Garbled::Row("a note cannot be one"))
    })
}

/// Times past what Postgres counts to are its last.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn from_i64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn to_u32(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(crate) fn time(at: Timestamp) -> i64 {
    to_i64(at.as_micros())
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
