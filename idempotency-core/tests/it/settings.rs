//! Settings: what is refused where it is given.

use std::time::Duration;

use idempotency_core::{
    Attributes, Context, Error, How, Idempotency, InvalidCall, InvalidDuration, LONGEST, SHORTEST, defaults,
};
use tokio::time::sleep;

use crate::support::{KEY, Method, faulty, key_of, run};

const BAD: [Duration; 4] =
    [Duration::ZERO, Duration::from_micros(999), Duration::MAX, LONGEST.saturating_add(SHORTEST)];

#[tokio::test]
async fn a_handle_refuses_times_that_are_zero_or_overflow() {
    type Set = fn(Idempotency, Duration) -> Result<Idempotency, InvalidDuration>;
    let setters: [(&str, Set); 4] = [
        ("lease", Idempotency::with_lease),
        ("retention", Idempotency::with_retention),
        ("longest run", Idempotency::with_max_run),
        ("store limit", Idempotency::with_store_limit),
    ];
    let (_, handle) = faulty();
    for (name, set) in setters {
        for bad in BAD {
            assert_eq!(set(handle.clone(), bad).unwrap_err(), InvalidDuration { name, given: bad });
        }
        assert!(set(handle.clone(), SHORTEST).is_ok() && set(handle.clone(), LONGEST).is_ok());
    }
    assert_eq!(handle.clone().with_retention(SHORTEST).unwrap().retention(), SHORTEST);
    for bad in BAD {
        let refused = handle.clone().with_unknown_retention(bad).unwrap_err();
        assert!(matches!(refused, InvalidCall::Duration(InvalidDuration { name: "unknown retention", .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_refuses_times_that_are_zero_or_overflow_before_the_store_is_asked() {
    let (store, handle) = faulty();
    for bad in BAD {
        let calls = [
            handle.call(&KEY).lease(bad),
            handle.call(&KEY).retention(bad),
            handle.call(&KEY).max_run(bad),
            handle.call(&KEY).wait(bad),
        ];
        for call in calls {
            let refused = call.run(async |_| -> Result<u32, Error> { panic!("ran") }).await;
            assert!(matches!(refused, Err(Error::Invalid(InvalidCall::Duration(_)))), "{refused:?}");
        }
    }
    let spawned = handle.call(&KEY).lease(Duration::ZERO).retention(Duration::MAX).spawn(async |_| Ok::<u32, Error>(1));
    // The first that was wrong.
    assert_eq!(spawned.await.unwrap_err().to_string(), "lease of 0ns is too short: the shortest is 1 ms");
    assert!(store.calls().is_empty());
    // The longest are taken and overflow nothing.
    let call = handle.call(&KEY).lease(LONGEST).retention(LONGEST).max_run(LONGEST).wait(LONGEST);
    assert_eq!(*call.run(async |_| Ok::<u32, Error>(1)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_unknown_retention_is_never_shorter_than_the_retention() {
    let (store, handle) = faulty();
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let refused = handle.clone().with_unknown_retention(defaults::RETENTION - SHORTEST).unwrap_err();
    assert!(matches!(refused, InvalidCall::UnknownRetention { retention: defaults::RETENTION, .. }));
    let unknown_for = |store: &crate::support::Faulty| match store.record(&KEY).unwrap().state {
        idempotency_core::State::InProgress { retention, unknown_retention, .. } => (retention, unknown_retention),
        other => panic!("{other:?}"),
    };
    let longer = handle.clone().with_retention(year).unwrap();
    crate::support::abandon(&longer, &KEY).await;
    assert_eq!(unknown_for(&store), (year, year));

    let (store, handle) = faulty();
    let call = handle.call(&KEY).retention(year);
    assert!(
        crate::support::polled(1, call.run(async |_| std::future::pending::<Result<u32, Error>>().await))
            .await
            .is_none()
    );
    assert_eq!(unknown_for(&store), (year, year));

    let (store, handle) = faulty();
    let handle = handle.with_unknown_retention(year * 2).unwrap();
    crate::support::abandon(&handle, &KEY).await;
    assert_eq!(unknown_for(&store), (defaults::RETENTION, year * 2));
}

#[tokio::test(start_paused = true)]
async fn a_calls_own_times_are_what_the_store_is_asked_for() {
    let (store, handle) = faulty();
    let second = Duration::from_secs(1);
    let call = handle.call(&KEY).lease(second * 40).retention(second * 50);
    let looked = call.run(async |attempt| Ok::<_, Error>(attempt.lease_remaining())).await.unwrap();
    assert_eq!(*looked, second * 40);
    let record = store.record(&KEY).unwrap();
    assert_eq!(record.forgotten_at(), store.now().plus(second * 50));
}

#[tokio::test(start_paused = true)]
async fn the_longest_and_the_shortest_times_do_not_overflow() {
    let (store, handle) = faulty();
    let longest = handle.with_lease(LONGEST).unwrap().with_max_run(LONGEST).unwrap();
    let longest = longest.with_retention(LONGEST).unwrap().with_unknown_retention(LONGEST).unwrap();
    let handle = longest.with_store_limit(LONGEST).unwrap();
    store.yields(2);
    let operation = async |_| {
        sleep(SHORTEST * 50).await;
        Ok::<u32, Error>(1)
    };
    let ran = handle.call(&KEY).wait(LONGEST).confirm().run(operation).await.unwrap();
    assert!(matches!(ran.how(), How::Executed));
    // It confirmed, and was in no hurry to renew.
    assert_eq!(store.count(Method::Extend), 1);
    let short = key_of("short");
    let short = handle.call(&short).lease(SHORTEST).max_run(SHORTEST).wait(SHORTEST).run(operation);
    assert_eq!(*short.await.unwrap(), 1);
    assert_eq!(handle.drain(Duration::MAX).await, Ok(()));
}

#[test]
fn the_defaults_and_bounds_are_those_that_are_written_down() {
    let minute = Duration::from_secs(60);
    let (hour, day) = (minute * 60, minute * 60 * 24);
    assert_eq!((defaults::LEASE, defaults::RETENTION, defaults::UNKNOWN_RETENTION), (minute / 2, day, day * 30));
    assert_eq!((defaults::MAX_RUN, defaults::STORE_LIMIT, defaults::RESULT_LIMIT), (hour, minute / 12, 1 << 20));
    assert_eq!((SHORTEST, LONGEST), (Duration::from_millis(1), day * 366 * 100));
    // However large a result may be, not over 64 MiB.
    let largest = faulty().1.with_result_limit(usize::MAX);
    assert!(format!("{largest:?}").contains("result_limit: 67108864,"), "{largest:?}");
}

#[test]
fn attributes_have_at_most_1024_bytes_together_and_no_control_characters() {
    let most = Attributes::default().with("name", "x".repeat(510)).unwrap().with("more", "y".repeat(506)).unwrap();
    assert_eq!(most.get("name").map(str::len), Some(510));
    assert!(most.clone().with("z", "").unwrap_err().to_string().contains("1,024 bytes together"));
    // Replaced, not added.
    assert_eq!(most.clone().with("name", "n").unwrap().get("name"), Some("n"));
    assert!(Attributes::default().with("n", "x".repeat(1025)).is_err());
    assert!(Attributes::default().with("x".repeat(1025), "").is_err());
    assert_eq!(Attributes::default().with("", "v").unwrap_err().to_string(), "the attribute's name is empty");
    for (name, value) in [("a\n", "v"), ("n", "v\0")] {
        assert!(Attributes::default().with(name, value).unwrap_err().to_string().contains("control characters"));
    }
    let sorted = Attributes::default().with("b", "2").unwrap().with("a", "1").unwrap();
    assert_eq!(sorted.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    assert!(Attributes::default().is_empty() && !sorted.is_empty() && sorted.get("c").is_none());
}

#[test]
fn a_context_has_at_most_256_bytes_a_field_and_no_control_characters() {
    let longest = "x".repeat(256);
    let both = Context::default().with_trace_parent(&longest).unwrap().with_correlation_id(&longest).unwrap();
    assert_eq!((both.trace_parent(), both.correlation_id()), (Some(&*longest), Some(&*longest)));
    assert_eq!((Context::default().trace_parent(), Context::default().correlation_id()), (None, None));
    for bad in ["x".repeat(257), "a\r\nb".into()] {
        assert!(Context::default().with_trace_parent(&bad).is_err());
        assert!(Context::default().with_correlation_id(&bad).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_refuses_a_note_that_cannot_be_kept_before_the_store_is_asked() {
    let (store, handle) = faulty();
    let long = "x".repeat(2000);
    for call in [
        handle.call(&KEY).attribute("n", &long),
        handle.call(&KEY).attribute("", "v"),
        handle.call(&KEY).trace_parent(&long),
        handle.call(&KEY).correlation_id("a\n"),
    ] {
        let refused = call.run(async |_| Ok::<u32, Error>(1)).await;
        assert!(matches!(refused, Err(Error::Invalid(InvalidCall::Note(_)))), "{refused:?}");
    }
    assert!(store.calls().is_empty());
    let _ = handle.call(&KEY).trace_parent("00-1").run(async |_| Ok::<u32, Error>(1)).await.unwrap();
    assert_eq!(run(&handle, &KEY, 2).await.unwrap().origin().unwrap().context.trace_parent(), Some("00-1"));
    assert_eq!(store.count(Method::Acquire), 2);
}
