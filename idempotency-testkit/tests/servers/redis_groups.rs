//! Redis servers that belong together.

use std::time::Duration;

use idempotency_testkit::servers::{RedisCluster, RedisReplicas, RedisSentinel};

use crate::support::{ask, told, until};

#[test]
fn replicas_get_what_the_primary_is_told() {
    let group = RedisReplicas::start(2).unwrap();
    assert_eq!(told(group.primary().address(), "SET key copied"), "+OK");
    for replica in group.replicas() {
        until("a replica has it", || told(replica.address(), "GET key") == "copied");
        assert!(told(replica.address(), "SET key other").contains("READONLY"));
    }
}

#[test]
fn sentinels_promote_a_replica_when_the_primary_is_gone() {
    let sentinel = RedisSentinel::start().unwrap();
    let first = sentinel.primary().unwrap();
    assert_eq!(sentinel.sentinels(), 3);
    assert!(sentinel.url().ends_with("/tests"), "{}", sentinel.url());
    let servers = sentinel.servers().unwrap();
    assert_eq!(servers.primary().address(), first);
    servers.primary().kill().unwrap();
    until("another is the primary", || sentinel.primary().is_ok_and(|now| now != first));
    let promoted = sentinel.primary().unwrap();
    until("it takes writes", || {
        ask(promoted, "SET key again", Duration::from_secs(2)).is_ok_and(|answer| answer == "+OK")
    });
}

#[test]
fn a_cluster_serves_every_slot_and_survives_the_loss_of_a_primary() {
    let cluster = RedisCluster::start().unwrap();
    assert_eq!((cluster.nodes().len(), cluster.url().split(',').count()), (6, 6));
    // Slots are spread: each key is one server's, who says so.
    let mut served = [0; 3];
    for number in 0..60 {
        let answers: Vec<String> =
            cluster.nodes()[..3].iter().map(|node| told(node.address(), &format!("SET key{number} x"))).collect();
        let owner = answers.iter().position(|answer| answer == "+OK").unwrap();
        assert_eq!(answers.iter().filter(|answer| answer.starts_with("-MOVED")).count(), 2, "{answers:?}");
        served[owner] += 1;
    }
    assert!(served.iter().all(|keys| *keys > 0), "{served:?}");

    let gone = &cluster.nodes()[0];
    gone.kill().unwrap();
    cluster.wait_until_replaced(gone).unwrap();
    let others = cluster.nodes().iter().filter(|node| node.process_id().is_some());
    for number in 0..60 {
        let kept = others.clone().any(|node| told(node.address(), &format!("SET key{number} y")) == "+OK");
        assert!(kept, "nobody serves key{number}");
    }
}
