//! A Redis Cluster.

use idempotency_testkit::servers::RedisCluster;

use crate::again::eventually;
use crate::redis::{get, set};

#[test]
fn every_slot_is_served_and_a_replica_takes_over_when_its_master_is_killed() {
    let redis = RedisCluster::own().unwrap();
    assert_eq!(redis.url(), format!("redis-cluster://{}", redis.addresses().join(",")));
    let nodes = redis.nodes().unwrap();
    let mut masters = Vec::new();
    for number in 0..300 {
        let key = format!("key {number}");
        let master = redis.master_of(&key).unwrap();
        set(master, &key, "value");
        masters.push(master.address());
    }
    masters.sort_unstable();
    masters.dedup();
    let mut first_three: Vec<&str> = nodes[..3].iter().map(|node| node.address()).collect();
    first_three.sort_unstable();
    assert_eq!(masters, first_three);

    let old = redis.master_of("key 0").unwrap();
    let at = nodes.iter().position(|node| node.address() == old.address()).unwrap();
    let held = old.command(&["DBSIZE"]).unwrap();
    eventually("the replica has all", || nodes[at + 3].command(&["DBSIZE"]).unwrap() == held);
    old.kill().unwrap();
    eventually("its replica is master, and takes writes", || {
        let new = redis.master_of("key 0").unwrap();
        new.address() == nodes[at + 3].address() && new.command(&["SET", "key 0", "since"]).is_ok()
    });
    assert_eq!(get(redis.master_of("key 0").unwrap(), "key 0").as_deref(), Some("since"));

    old.restart().unwrap();
    eventually("the old master is a replica", || {
        let role = old.command(&["INFO", "replication"]).unwrap();
        role.text().unwrap().contains("role:slave")
    });
}
