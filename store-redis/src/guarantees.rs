//! What the servers are, as they say themselves.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use idempotency_core::{Answer, ClockSource, FenceSource, Guarantees, StoreError, StoreErrorKind};
use redis::{Cmd, FromRedisValue};

use crate::config::RedisStoreConfig;
use crate::error::Operation;
use crate::link::{Failure, Job, Node, Servers};

/// What the servers survive, as they are set up at this moment.
pub(crate) async fn found(servers: &Servers, config: &RedisStoreConfig) -> Result<Guarantees, StoreError> {
    tokio::time::timeout(config.limit, find(servers, config)).await.unwrap_or_else(|_| {
        let message = format!("Redis: the servers did not say what they are within {:?}", config.limit);
        Err(StoreError::new(StoreErrorKind::InDoubt, "guarantees").with_message(message))
    })
}

async fn find(servers: &Servers, config: &RedisStoreConfig) -> Result<Guarantees, StoreError> {
    let mut guarantees = Guarantees::none("redis");
    guarantees.shared = Answer::Yes;
    guarantees.clock = ClockSource::Server;
    guarantees.fences = FenceSource::Clock { tolerates: config.clock_tolerance };
    let mut kills = Answer::Yes;
    let mut evicts = None;
    let mut replicas = Answer::Yes;
    for node in servers.all().await.during("guarantees")? {
        let memory = readable(info(&node, "memory").await).during("guarantees")?;
        match memory.as_ref().and_then(|memory| memory.get("maxmemory_policy")).map(String::as_str) {
            Some("noeviction") => {}
            Some(policy) => {
                evicts = Some(Answer::No(format!(
                    "{} forgets records when its memory is full: its maxmemory-policy is {policy}; set noeviction",
                    node.place()
                )));
            }
            None => {
                evicts.get_or_insert_with(|| {
                    Answer::CannotTell(format!("{} does not say whether it evicts: allow its user INFO", node.place()))
                });
            }
        }
        kills = weaker(kills, on_disk(&node).await.during("guarantees")?);
        replicas = weaker(replicas, replicated(&node, config).await.during("guarantees")?);
    }
    let with_eviction = |answer| match &evicts {
        Some(evicts) => weaker(evicts.clone(), answer),
        None => answer,
    };
    guarantees.survives_process_crash = with_eviction(kills.clone());
    guarantees.survives_machine_crash = with_eviction(kills);
    guarantees.survives_failover = with_eviction(replicas);
    Ok(guarantees)
}

/// The answer that promises less.
fn weaker(one: Answer, other: Answer) -> Answer {
    match (&one, &other) {
        (Answer::No(_), _) | (Answer::CannotTell(_), Answer::Yes | Answer::CannotTell(_)) => one,
        _ => other,
    }
}

async fn on_disk(node: &Arc<Node>) -> Result<Answer, Failure> {
    let place = node.place();
    let setting = async |name| {
        let settings: Option<HashMap<String, String>> = readable(ask(node, &["CONFIG", "GET", name]).await)?;
        Ok::<_, Failure>(settings.and_then(|mut settings| settings.remove(name)))
    };
    let appends = match setting("appendonly").await? {
        Some(appends) => Some(appends == "yes"),
        // `CONFIG` is often forbidden, and `INFO` seldom.
        None => readable(info(node, "persistence").await)?
            .and_then(|persistence| persistence.get("aof_enabled").map(|enabled| enabled == "1")),
    };
    Ok(match (appends, setting("appendfsync").await?.as_deref()) {
        (Some(false), _) => {
            Answer::No(format!("{place} loses what it has not written to its last snapshot; set appendonly yes"))
        }
        (Some(true), Some("always")) if setting("no-appendfsync-on-rewrite").await?.as_deref() == Some("yes") => {
            Answer::No(format!(
                "{place} answers before what it wrote is on the disk while it rewrites its log or takes a snapshot; set \
                 no-appendfsync-on-rewrite no"
            ))
        }
        (Some(true), Some("always")) => Answer::Yes,
        (Some(true), Some(fsync)) => Answer::No(format!(
            "{place} answers before what it wrote is on the disk: its appendfsync is {fsync}, which may lose a second or \
             more; set appendfsync always"
        )),
        (Some(true), None) => {
            Answer::CannotTell(format!("{place} does not say what its appendfsync is: allow its user CONFIG GET"))
        }
        (None, _) => Answer::CannotTell(format!(
            "{place} does not say what it writes to disk: allow its user CONFIG GET or INFO"
        )),
    })
}

async fn replicated(node: &Arc<Node>, config: &RedisStoreConfig) -> Result<Answer, Failure> {
    let place = node.place();
    let Some(wanted) = config.replicas else {
        return Ok(Answer::No(format!(
            "{place} answers before its replicas have what it wrote, and a failover forgets the last of it; use with_replicas"
        )));
    };
    let Some(replication) = readable(info(node, "replication").await)? else {
        return Ok(Answer::CannotTell(format!("{place} does not say how many replicas it has: allow its user INFO")));
    };
    let there = connected_replicas(&replication);
    Ok(match there.cmp(&wanted.by) {
        Ordering::Equal => Answer::Yes,
        Ordering::Less => {
            Answer::No(format!("{place} has {there} replicas, and {} are to acknowledge each write", wanted.by))
        }
        Ordering::Greater => Answer::No(format!(
            "{place} has {there} replicas, of which {} are to acknowledge each write, and another may take over; have all \
             of them acknowledge it",
            wanted.by
        )),
    })
}

/// How many replicas a server has, by what `INFO replication` says.
pub(crate) fn connected_replicas(replication: &HashMap<String, String>) -> u32 {
    replication.get("connected_slaves").and_then(|there| there.parse().ok()).unwrap_or_default()
}

/// `None` where the user may not ask.
fn readable<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Failure::Refused { error, .. }) if matches!(error.code(), "NOPERM" | "ERR") => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(crate) async fn info(node: &Arc<Node>, section: &str) -> Result<HashMap<String, String>, Failure> {
    let info: String = ask(node, &["INFO", section]).await?;
    Ok(info.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.into(), value.into())).collect())
}

pub(crate) async fn ask<T: FromRedisValue>(node: &Arc<Node>, words: &[&str]) -> Result<T, Failure> {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    let answer = node.call(Job::Command(command)).await?.result?;
    T::from_redis_value(answer).map_err(|error| Failure::no_answer(node.place(), error.into()))
}
