//! A crowd of several tenants that kills the gateway: ledger, answers and audit log agree.

use std::collections::{BTreeMap, BTreeSet};

use idempotency_examples::audit::Done;
use idempotency_testkit::servers;

use super::{API_KEY, GATEWAY, OTHER_API_KEY, PAYMENTS, audit, id, payment};
use crate::support::{Crowd, Wish};

const TENANTS: [(&str, &str); 2] = [(API_KEY, "my-tenant"), (OTHER_API_KEY, "other-tenant")];

async fn a_crowd_of_tenants_pays_once_a_key(store: Option<&str>) {
    let mut gateway = GATEWAY.start(store).await;
    let run = gateway.run().to_owned();
    let answers = Crowd::WHOLE
        .ask(&mut gateway, move |wish| Wish {
            path: PAYMENTS.into(),
            // Both tenants have the same keys, for the same payments.
            headers: vec![
                ("idempotency-key", format!("{run}-{}", wish / 2)),
                ("x-api-key", TENANTS[wish % 2].0.to_owned()),
            ],
            body: payment(1_000 + wish as u64 / 2),
        })
        .await;
    answers.assert_each_the_same(|reply| reply.json().expect("JSON"));
    assert!(answers.replayed() > 0 && answers.lost > 0, "a tame crowd shows nothing");

    // The ledger: one charge for each tenant and key.
    let ledger: BTreeMap<_, _> = gateway.ledger().into_iter().map(|entry| (entry.id, entry.instruction)).collect();
    let keys: BTreeSet<_> = ledger.values().map(|charge| &charge.key).collect();
    assert_eq!((ledger.len(), keys.len()), (Crowd::WHOLE.wishes, Crowd::WHOLE.wishes));
    for (wish, replies) in &answers.of {
        let charge = &ledger[&id(&replies[0])];
        let tenant = TENANTS[wish % 2].1;
        assert_eq!(
            (charge.order.as_str(), charge.amount),
            (&*format!("{tenant}/260700000000"), 1_000 + *wish as u64 / 2)
        );
    }

    // The audit log: every charge is in it, once as the original, or as done by an attempt after an unknown one.
    let (mut begun, mut originals, mut paid, mut replays) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new(), 0);
    for entry in audit(&gateway) {
        let Some(key) = entry.key.clone() else {
            // A body that broke off with its client.
            assert_eq!(entry.done, Done::Refused, "{entry:?}");
            continue;
        };
        match entry.done {
            Done::Begun => {
                begun.insert(key);
            }
            Done::Original | Done::AfterUnknown if entry.outcome == "201" => {
                let charge = entry.details["payment_id"].as_str().expect("an id").to_owned();
                let made = &ledger[&charge];
                assert!(begun.contains(&key), "paid before it was begun: {entry:?}");
                assert_eq!((&made.key, made.order.split('/').next()), (&key, Some(entry.actor.as_str())));
                if entry.done == Done::Original {
                    assert!(originals.insert(key.clone()), "two originals: {entry:?}");
                    assert!(!paid.contains_key(&key), "an original after another: {entry:?}");
                }
                assert_eq!(*paid.entry(key).or_insert_with(|| charge.clone()), charge, "two charges: {entry:?}");
            }
            Done::Replay => {
                replays += 1;
                assert!(paid.contains_key(&key), "a replay before its original: {entry:?}");
                assert_eq!(entry.outcome, "201");
            }
            // Ran, and was told that nothing was done, or that nobody knows; or did not run.
            Done::Original | Done::AfterUnknown | Done::Refused => assert_ne!(entry.outcome, "201", "{entry:?}"),
            Done::Unprotected | Done::WithoutKey => panic!("all had keys, and the store was there: {entry:?}"),
        }
    }
    assert_eq!(paid.values().collect::<BTreeSet<_>>(), ledger.keys().collect(), "the audit log and the ledger agree");
    // Some were told to clients that had hung up, and to the processes that were killed.
    assert!(replays >= answers.replayed(), "{replays} replays in the log, {} seen", answers.replayed());
    assert!(originals.len() > Crowd::WHOLE.wishes / 2, "{} originals", originals.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_tenants_pays_once_a_key_on_sled() {
    a_crowd_of_tenants_pays_once_a_key(None).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_tenants_pays_once_a_key_on_postgres() {
    let server = servers::Postgres::shared().expect("a server");
    let url = server.fresh_database().expect("a database");
    a_crowd_of_tenants_pays_once_a_key(Some(&url)).await;
}
