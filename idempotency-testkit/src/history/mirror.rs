//! The core's types as serde sees them. A field that the core gains does not compile until it is here.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{
    Attributes, Claim, Completion, Context, Effect, Ended, Fence, Fingerprint, Grant, Held, Lock, Omitted, OnUnknown,
    Owner, Prior, Record, Snapshot, State, StoreErrorKind, Timestamp,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! mirrored {
    ($($module:ident: $real:ty as $plain:ty, |$one:ident| $to:expr, |$other:ident| $from:expr;)*) => {$(
        pub(super) mod $module {
            use super::*;

            pub(in super::super) fn serialize<S: Serializer>($one: &$real, serializer: S) -> Result<S::Ok, S::Error> {
                let plain: $plain = $to;
                plain.serialize(serializer)
            }

            pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$real, D::Error> {
                let $other = <$plain>::deserialize(deserializer)?;
                let real: Result<$real, &str> = $from;
                real.map_err(D::Error::custom)
            }
        }
    )*};
}

mirrored! {
    time: Timestamp as u64, |time| time.as_micros(), |micros| Ok(Timestamp::from_micros(micros));
    duration: Duration as u128, |duration| duration.as_nanos(),
        |nanos| u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| "a duration over 500 years");
    fence: Fence as u64, |fence| fence.get(), |number| Ok(Fence::new(number));
    owner: Owner as String, |owner| owner.to_string(),
        |text| u128::from_str_radix(&text, 16).map(Owner::from_u128).map_err(|_| "no owner");
    fingerprint: Fingerprint as (u8, String), |print| (print.version(), hex(print.as_bytes())),
        |parts| digest(&parts.1).map(|digest| Fingerprint::from_parts(parts.0, digest)).ok_or("no fingerprint");
    context: Context as (Option<String>, Option<String>),
        |context| (context.trace_parent().map(Into::into), context.correlation_id().map(Into::into)),
        |parts| context_of(parts).ok_or("no context");
    attributes: Attributes as BTreeMap<String, String>,
        |attributes| attributes.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        |map| map.into_iter().try_fold(Attributes::default(), |all, (name, value)| all.with(name, value))
            .map_err(|_| "no attributes");
    value: Bytes as (usize, String), |value| (value.len(), hex(Fingerprint::of_bytes(value).as_bytes())),
        |parts| digest(&parts.1).map(|digest| stand_in(parts.0, digest)).ok_or("no digest of a value");
    kind: StoreErrorKind as String, |kind| name_of(*kind).into(),
        |name| KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind).ok_or("no kind of error");
}

const KINDS: [(StoreErrorKind, &str); 8] = [
    (StoreErrorKind::Unavailable, "unavailable"),
    (StoreErrorKind::InDoubt, "in doubt"),
    (StoreErrorKind::Full, "full"),
    (StoreErrorKind::TooLarge, "too large"),
    (StoreErrorKind::Damaged, "damaged"),
    (StoreErrorKind::Closed, "closed"),
    (StoreErrorKind::Misconfigured, "misconfigured"),
    (StoreErrorKind::Internal, "internal"),
];

/// A kind that is not known here says nothing of what was done, as *in doubt*.
fn name_of(kind: StoreErrorKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("in doubt", |(_, name)| name)
}

/// Bytes that are equal exactly if the values were: the length and the digest.
fn stand_in(length: usize, digest: [u8; 32]) -> Bytes {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(digest);
    bytes.into()
}

fn context_of((trace_parent, correlation_id): (Option<String>, Option<String>)) -> Option<Context> {
    let mut context = Context::default();
    if let Some(trace_parent) = trace_parent {
        context = context.with_trace_parent(trace_parent).ok()?;
    }
    if let Some(correlation_id) = correlation_id {
        context = context.with_correlation_id(correlation_id).ok()?;
    }
    Some(context)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let bytes: Option<Vec<u8>> = (0..32).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect();
    bytes?.try_into().ok().filter(|_| text.len() == 64)
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Lock")]
pub(super) struct LockMirror {
    #[serde(with = "owner")]
    owner: Owner,
    #[serde(with = "fence")]
    fence: Fence,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OnUnknown")]
pub(super) enum OnUnknownMirror {
    RunAgain,
    Reconcile,
    Refuse,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Effect")]
pub(super) enum EffectMirror {
    None,
    Unknown,
    Settled,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Held")]
pub(super) enum HeldMirror {
    Held,
    Lost,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Omitted")]
pub(super) enum OmittedMirror {
    ByChoice,
    NotEncodable,
    TooLarge,
    RefusedByStore,
    Settled,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Completion")]
pub(super) enum CompletionMirror {
    Value(#[serde(with = "value")] Bytes),
    Omitted(#[serde(with = "OmittedMirror")] Omitted),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Claim")]
pub(super) struct ClaimMirror {
    #[serde(with = "owner")]
    owner: Owner,
    #[serde(with = "fingerprint")]
    fingerprint: Fingerprint,
    #[serde(with = "duration")]
    lease: Duration,
    #[serde(with = "duration")]
    retention: Duration,
    #[serde(with = "duration")]
    unknown_retention: Duration,
    #[serde(with = "OnUnknownMirror")]
    on_unknown: OnUnknown,
    confirms: bool,
    settles: bool,
    #[serde(with = "context")]
    context: Context,
    #[serde(with = "attributes")]
    attributes: Attributes,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Ended")]
pub(super) enum EndedMirror {
    Lapsed,
    Told,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Prior")]
pub(super) struct PriorMirror {
    attempt: u32,
    #[serde(with = "fence")]
    fence: Fence,
    #[serde(with = "time")]
    ended_at: Timestamp,
    #[serde(with = "EndedMirror")]
    ended: Ended,
    #[serde(with = "time")]
    remembered_until: Timestamp,
}

/// For a prior attempt that there may not be.
pub(super) mod prior {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct There(#[serde(with = "PriorMirror")] Prior);

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(in super::super) fn serialize<S: Serializer>(prior: &Option<Prior>, serializer: S) -> Result<S::Ok, S::Error> {
        prior.map(There).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Prior>, D::Error> {
        Ok(Option::<There>::deserialize(deserializer)?.map(|There(prior)| prior))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "State")]
pub(super) enum StateMirror {
    InProgress {
        #[serde(with = "time")]
        lease_until: Timestamp,
        confirmed: bool,
        #[serde(with = "duration")]
        retention: Duration,
        #[serde(with = "duration")]
        unknown_retention: Duration,
    },
    Unknown {
        #[serde(with = "time")]
        until: Timestamp,
    },
    Released {
        #[serde(with = "time")]
        until: Timestamp,
    },
    Completed {
        #[serde(with = "time")]
        at: Timestamp,
        #[serde(with = "time")]
        until: Timestamp,
        #[serde(with = "CompletionMirror")]
        result: Completion,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Record")]
pub(super) struct RecordMirror {
    #[serde(with = "fingerprint")]
    fingerprint: Fingerprint,
    #[serde(with = "LockMirror")]
    lock: Lock,
    attempt: u32,
    #[serde(with = "prior")]
    prior: Option<Prior>,
    #[serde(with = "OnUnknownMirror")]
    on_unknown: OnUnknown,
    #[serde(with = "time")]
    acquired_at: Timestamp,
    #[serde(with = "context")]
    context: Context,
    #[serde(with = "attributes")]
    attributes: Attributes,
    #[serde(with = "StateMirror")]
    state: State,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Snapshot")]
pub(super) struct SnapshotMirror {
    #[serde(with = "RecordMirror")]
    record: Record,
    #[serde(with = "time")]
    now: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Grant")]
pub(super) struct GrantMirror {
    #[serde(with = "LockMirror")]
    lock: Lock,
    attempt: u32,
    #[serde(with = "prior")]
    prior: Option<Prior>,
}
