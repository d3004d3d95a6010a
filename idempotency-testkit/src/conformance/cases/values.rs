//! Values, notes and policies come back as they were given.

use std::sync::Arc;

use bytes::Bytes;
use idempotency_core::{
    Attributes, Claim, Completion, Context, Effect, LONGEST_CONTEXT, MOST_ATTRIBUTES, Omitted, StoreErrorKind,
};

use crate::call::Call;
use crate::conformance::bench::Bench;
use crate::conformance::desk::Desk;
use crate::conformance::failure::{Failure, Outcome};
use crate::rule::Rule;

/// Bytes that no two lengths and no two offsets share, with every value of a byte in them.
fn bytes(length: usize, salt: u64) -> Bytes {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ length as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// To either side of where stores are known to keep values in another way: inline, in pages, in pieces.
fn lengths(largest: usize) -> Vec<usize> {
    let mut all = vec![0, 1, 2, 255, 256, 65_535];
    for edge in [4096, 6 * 1024, 8 * 1024, 64 * 1024, 128 * 1024, 512 * 1024, largest] {
        all.extend([edge.saturating_sub(1), edge, edge + 1]);
    }
    all.retain(|length| *length <= largest);
    all.sort_unstable();
    all.dedup();
    all
}

/// Stores the value under its key and reads it back by `get` and by `acquire_lock`.
async fn comes_back(desk: &mut Desk, owner: u128, result: &Completion) -> Outcome {
    let claim = desk.bench.claim(owner);
    let lock = desk.granted(&claim).await?.lock;
    desk.store(lock, result, claim.retention).await?;
    desk.acquire(&desk.bench.claim(owner + 1)).await?;
    Ok(())
}

pub(crate) async fn values_of_every_size_come_back_bit_for_bit(bench: Arc<Bench>) -> Outcome {
    let desks: Vec<Desk> = lengths(bench.largest()).iter().map(|length| bench.desk(format!("{length}"))).collect();
    let largest = bench.largest();
    let store = move |number: usize, mut desk: Desk| async move {
        let length = lengths(largest)[number];
        comes_back(&mut desk, 1, &Completion::Value(bytes(length, 1))).await?;
        Ok(desk)
    };
    for mut desk in bench.at_each(desks, store).await? {
        desk.look().await?;
    }
    Ok(())
}

pub(crate) async fn values_of_every_byte_come_back(bench: Arc<Bench>) -> Outcome {
    let all: Vec<u8> = (0..=255).collect();
    let odd: [&[u8]; 8] =
        [&all, &[0], &[0; 300], &[255; 300], b"\r\n", b"'; --", b"\\x00", "\u{0}\u{feff}\u{fffe}".as_bytes()];
    for (number, bytes) in odd.into_iter().enumerate() {
        let mut desk = bench.desk(format!("odd {number}"));
        comes_back(&mut desk, 1, &Completion::Value(Bytes::copy_from_slice(bytes))).await?;
    }
    Ok(())
}

pub(crate) async fn a_missing_value_comes_back_with_its_reason(bench: Arc<Bench>) -> Outcome {
    let reasons =
        [Omitted::ByChoice, Omitted::NotEncodable, Omitted::TooLarge, Omitted::RefusedByStore, Omitted::Settled];
    for why in reasons {
        let mut desk = bench.desk(format!("{why:?}"));
        comes_back(&mut desk, 1, &Completion::Omitted(why)).await?;
    }
    Ok(())
}

/// One key is begun anew again and again, each time with a value kept in another way.
pub(crate) async fn a_value_is_replaced_whole_once_it_was_forgotten(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("replaced");
    let large = bench.largest().min(200 * 1024);
    let results = [
        Completion::Value(bytes(large, 1)),
        Completion::Value(Bytes::new()),
        Completion::Value(bytes(large / 2, 2)),
        Completion::Omitted(Omitted::ByChoice),
        Completion::Value(bytes(5000, 3)),
        Completion::Value(bytes(10, 4)),
        Completion::Value(bytes(large, 5)),
    ];
    for (number, result) in results.iter().enumerate() {
        comes_back(&mut desk, 10 * (number as u128 + 1), result).await?;
        bench.pass(bench.times.retention).await;
    }
    desk.look().await
}

/// A value over the store's limit is refused, and the fact alone can be kept instead.
pub(crate) async fn a_value_over_the_limit_is_kept_whole_or_refused(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("too large");
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    let too_large = Completion::Value(bytes(bench.largest() + 1024 * 1024, 1));
    let call = Call::Store(lock, too_large, bench.times.retention);
    let mark = bench.mark();
    match call.send(&desk.key, &*bench.store()).await {
        Ok(answer) => {
            desk.judge(&call, bench.since(mark), &answer)?;
            desk.look().await
        }
        Err(error) if matches!(error.kind(), StoreErrorKind::TooLarge | StoreErrorKind::Full) => {
            desk.look().await?;
            desk.extend(lock, bench.times.lease).await?;
            desk.store(lock, &Completion::Omitted(Omitted::RefusedByStore), bench.times.retention).await?;
            desk.expect("the fact alone", desk.is_completed())
        }
        Err(error) => {
            let text = format!("a value that is too large was refused as {:?}, not as TooLarge: {error}", error.kind());
            Err(Failure::of(Rule::RowsAreAnswered, text))
        }
    }
}

fn noted() -> Result<Vec<(Context, Attributes)>, idempotency_core::InvalidNote> {
    let long = "x".repeat(LONGEST_CONTEXT);
    let none = Context::default;
    let mut full = Attributes::default();
    for number in 0..MOST_ATTRIBUTES / 32 {
        full = full.with(format!("name {number:011}"), "v".repeat(16))?;
    }
    let odd = "'\"\\/%:|{}=,;& \u{e9}\u{1f600}";
    Ok(vec![
        (none(), Attributes::default()),
        (none().with_trace_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?, Attributes::default()),
        (none().with_correlation_id("")?, Attributes::default().with("empty", "")?),
        (none().with_trace_parent(&*long)?.with_correlation_id(&*long)?, full),
        (none().with_correlation_id(odd)?, Attributes::default().with(odd, odd)?.with("b", "2")?.with("a", "1")?),
        (none(), Attributes::default().with("n", "v".repeat(MOST_ATTRIBUTES - 1))?),
        (none(), Attributes::default().with("n".repeat(MOST_ATTRIBUTES), "")?),
    ])
}

pub(crate) async fn contexts_and_attributes_come_back_to_their_limits(bench: Arc<Bench>) -> Outcome {
    let noted = noted().map_err(|error| Failure::other(format!("the kit's own notes: {error}")))?;
    for (number, (context, attributes)) in noted.into_iter().enumerate() {
        let claim = |owner| Claim { context: context.clone(), attributes: attributes.clone(), ..bench.claim(owner) };
        for completes in [true, false] {
            let mut desk = bench.desk(format!("noted {number} {completes}"));
            let lock = desk.granted(&claim(1)).await?.lock;
            desk.extend(lock, bench.times.lease).await?;
            if completes {
                desk.store(lock, &Completion::Value(bytes(100, 1)), bench.times.retention).await?;
                desk.acquire(&bench.claim(2)).await?;
                continue;
            }
            desk.release(lock, Effect::Unknown).await?;
            // The next attempt has notes of its own.
            desk.granted(&bench.claim(2)).await?;
        }
    }
    Ok(())
}

/// A claim that is sent again brings nothing, whatever it says; the next attempt brings its own.
pub(crate) async fn each_attempt_is_kept_with_what_it_brought_itself(bench: Arc<Bench>) -> Outcome {
    let noted = |owner: u128, note: &str| {
        let context = Context::default().with_correlation_id(note);
        let noted = context.and_then(|context| Ok((context, Attributes::default().with("note", note)?)));
        let (context, attributes) = noted.map_err(|error| Failure::other(format!("the kit's own notes: {error}")))?;
        Ok::<_, Failure>(Claim { context, attributes, ..bench.claim(owner) })
    };
    for (number, effect) in [Effect::None, Effect::Unknown, Effect::Settled].into_iter().enumerate() {
        let mut desk = bench.desk(format!("notes {number}"));
        for owner in 1..4 {
            let lock = desk.granted(&noted(owner, &format!("attempt {owner}"))?).await?.lock;
            desk.acquire(&noted(owner, "sent again")?).await?;
            desk.acquire(&noted(owner + 1, "another's")?).await?;
            desk.release(lock, effect).await?;
            desk.acquire(&noted(owner, "sent late")?).await?;
        }
        let lock = desk.granted(&bench.claim(9)).await?.lock;
        desk.store(lock, &Completion::Value(bytes(10, 2)), bench.times.retention).await?;
        desk.acquire(&noted(8, "a duplicate's")?).await?;
    }
    Ok(())
}

pub(crate) async fn owners_and_fingerprints_come_back_to_their_limits(bench: Arc<Bench>) -> Outcome {
    let requests = [
        idempotency_core::Fingerprint::NONE,
        idempotency_core::Fingerprint::from_parts(1, [0; 32]),
        idempotency_core::Fingerprint::from_parts(1, [255; 32]),
        idempotency_core::Fingerprint::from_parts(255, std::array::from_fn(|at| at as u8)),
    ];
    let owners = [0, 1, u128::from(u64::MAX), u128::from(u64::MAX) + 1, 1 << 127, u128::MAX];
    for (request, fingerprint) in requests.into_iter().enumerate() {
        for (number, owner) in owners.into_iter().enumerate() {
            let mut desk = bench.desk(format!("owner {request}.{number}"));
            let claim = Claim { fingerprint, ..bench.claim(owner) };
            desk.granted(&claim).await?;
            desk.granted(&claim).await?;
            desk.acquire(&Claim { owner: bench.claim(owner ^ 2).owner, ..claim.clone() }).await?;
            desk.release(desk.last_lock(), Effect::Unknown).await?;
            desk.acquire(&claim).await?;
        }
    }
    Ok(())
}
