//! What is stored, and the keys it is stored under.

use bytes::Bytes;
use idempotency::{Bincode, Codec, Key, Target, content_of};
use serde::{Deserialize, Serialize};

/// The result of an operation, as a payment service would have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) id: String,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) accepted: bool,
}

impl Payment {
    pub(crate) fn sample() -> Self {
        Self { id: "pay_01HZX4T9G2".into(), amount: 1999, currency: "EUR".into(), accepted: true }
    }
}

/// A value through the same codec as the library's own.
pub(crate) fn encode(key: &Key, value: &Payment) -> Bytes {
    let mut out = Vec::with_capacity(64);
    Bincode.encode(key, value, &mut out).expect("a payment encodes");
    out.into()
}

pub(crate) fn decode(key: &Key, bytes: &[u8]) -> Payment {
    let mut slot = Slot(None);
    Bincode.decode(key, bytes, &mut slot).expect("a payment decodes");
    slot.0.expect("a payment")
}

struct Slot(Option<Payment>);

impl Target for Slot {
    fn read(&mut self, from: &mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error> {
        self.0 = Some(erased_serde::deserialize(from)?);
        Ok(())
    }

    fn content(&self) -> u64 {
        self.0.as_ref().map_or(0, |value| content_of(value))
    }
}

pub(crate) fn keys(round: usize, count: usize) -> Vec<Key> {
    (0..count)
        .map(|n| Key::new("payment:create", format!("ord_{round}_{n}")).scope("tenant-7").build().expect("a key"))
        .collect()
}
