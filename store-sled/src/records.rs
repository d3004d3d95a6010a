//! Records as they lie in the database: reading them, writing them, and the pieces of long ones.

use std::ops::Bound;

use idempotency_core::{Key, Record, StoreError, StoreErrorKind, envelope};

use crate::error::Operation;
use crate::index;
use crate::journal::{ChunkId, IVec, Journal, JournalError, Ticket};
use crate::layout::{self, Body, PIECE};

/// The records of a journal.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) journal: Journal,
}

/// A record as it lies in the database.
pub(crate) struct Found {
    /// The value of its key, to be swapped against.
    pub(crate) raw: IVec,
    /// The pieces it is in, if it is.
    pub(crate) pieces: Option<Pieces>,
    pub(crate) record: Record,
}

/// The pieces of a long record.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    prefix: Vec<u8>,
    id: ChunkId,
    len: usize,
}

impl Pieces {
    /// Removes them, once the record that named them is gone, durably.
    pub(crate) async fn remove_after(self, journal: &Journal, gone: Ticket) -> Result<(), JournalError> {
        gone.durable().await?;
        let _nobody_waits = journal.remove_chunks(&self.prefix, &self.id, self.len)?;
        Ok(())
    }
}

/// Pieces that no record names yet: removed when this is dropped before one does.
#[derive(Debug)]
pub(crate) struct Unnamed<'a> {
    journal: &'a Journal,
    pieces: Option<Pieces>,
}

impl Unnamed<'_> {
    /// A record names them now.
    pub(crate) fn are_named(mut self) {
        self.pieces = None;
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(pieces) = self.pieces.take() {
            // If the journal is closed, they are swept at the next start.
            let _swept = self.journal.remove_chunks(&pieces.prefix, &pieces.id, pieces.len);
        }
    }
}

impl Records {
    /// The record of a key, and a ticket for all that this look saw.
    pub(crate) fn find(
        &self,
        operation: &'static str,
        key: &Key,
        record_key: &[u8],
    ) -> Result<(Option<Found>, Ticket), StoreError> {
        loop {
            let seen = self.journal.get(record_key).during(operation)?;
            let Some(raw) = seen.value else { return Ok((None, seen.ticket)) };
            let garbled = |error| damaged_at(operation, key, error);
            let (record, pieces, ticket) = match layout::body(key, record_key, &raw).map_err(garbled)? {
                Body::Whole(bytes) => (envelope::decode(key, bytes), None, seen.ticket),
                Body::Pieces { id, len } => {
                    let prefix = layout::piece_prefix(record_key);
                    let pieces = self.journal.get_chunks(&prefix, &id, len).during(operation)?;
                    match pieces.value {
                        Some(bytes) => (envelope::decode(key, &bytes), Some(Pieces { prefix, id, len }), pieces.ticket),
                        // Replaced since it was read, or damaged: look again to tell.
                        None if self.journal.get(record_key).during(operation)?.value.as_ref() != Some(&raw) => {
                            continue;
                        }
                        None => return Err(damaged_at(operation, key, "some of its pieces are missing")),
                    }
                }
            };
            let record = record.map_err(|error| {
                let message = format!("under the key {key}: {error}");
                StoreError::new(StoreErrorKind::Damaged, operation).with_message(message).with_source(error)
            })?;
            return Ok((Some(Found { raw, pieces, record }), ticket));
        }
    }

    /// The value for a record's key, and the pieces that it names; a long record is first written in
    /// pieces.
    pub(crate) async fn value(
        &self,
        operation: &'static str,
        key: &Key,
        record_key: &[u8],
        record: &Record,
    ) -> Result<(Vec<u8>, Option<Unnamed<'_>>), StoreError> {
        let bytes = envelope::encode(key, record);
        if let Some(value) = layout::whole(key, &bytes) {
            return Ok((value, None));
        }
        let pieces = Pieces { prefix: layout::piece_prefix(record_key), id: rand::random(), len: bytes.len() };
        // From here on, also if this is given up half-way.
        let unnamed = Unnamed { journal: &self.journal, pieces: Some(pieces.clone()) };
        let written = self.journal.put_chunks(&pieces.prefix, &pieces.id, &bytes).await;
        let _covered_by_the_record = written.during(operation)?;
        Ok((layout::pieces(key, &pieces.id, pieces.len), Some(unnamed)))
    }

    /// Files a new record in the expiry index, before the record itself: the log keeps their order.
    pub(crate) fn index(&self, operation: &'static str, record: &Record, record_key: &[u8]) -> Result<(), StoreError> {
        let at = index::look_at(record, record.acquired_at);
        let _covered_by_the_record = self.journal.insert(&index::entry(at, record_key), &[]).during(operation)?;
        Ok(())
    }

    /// Removes pieces that no record names: a process was killed between writing them and the record.
    /// For when nobody else uses the database yet.
    pub(crate) fn sweep_pieces(&self) -> Result<(), JournalError> {
        let journal = &self.journal;
        let mut from = Bound::Included(vec![PIECE]);
        loop {
            let first = journal.scan(from.as_ref().map(Vec::as_slice), 1)?.value.pop();
            let Some((piece, _)) = first.filter(|(piece, _)| piece.starts_with(&[PIECE])) else { return Ok(()) };
            let Some((record_key, id)) = layout::of_piece(&piece) else {
                from = Bound::Excluded(piece.to_vec());
                continue;
            };
            let prefix = layout::piece_prefix(record_key);
            if !names(journal, record_key, id)? {
                let _covered_by_the_opening = journal.sweep_chunks(&prefix, &id)?;
            }
            from = Bound::Excluded([&prefix[..], &id, &u32::MAX.to_be_bytes()].concat());
        }
    }
}

fn names(journal: &Journal, record_key: &[u8], wanted: [u8; 16]) -> Result<bool, JournalError> {
    let Some(raw) = journal.get(record_key)?.value else { return Ok(false) };
    // What cannot be read may name them: damage is told when the key is used.
    let Ok(key) = key_of("open", record_key, &raw) else { return Ok(true) };
    Ok(match layout::body(&key, record_key, &raw) {
        Ok(Body::Pieces { id, .. }) => id == wanted,
        // A head whose first bytes are damaged looks like a whole record, but is none.
        Ok(Body::Whole(bytes)) => envelope::decode(&key, bytes).is_err(),
        Err(_) => true,
    })
}

/// Reads the key that a record was stored under.
pub(crate) fn key_of(operation: &'static str, record_key: &[u8], raw: &[u8]) -> Result<Key, StoreError> {
    let garbled = |what: String| damaged(operation, format!("under {}: {what}", record_key.escape_ascii()));
    let (text, _) = layout::key_and_body(record_key, raw).map_err(|error| garbled(error.to_string()))?;
    Key::parse(text).map_err(|error| garbled(format!("it is no key: {error}")))
}

pub(crate) fn damaged(operation: &'static str, what: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, operation).with_message(what)
}

fn damaged_at(operation: &'static str, key: &Key, what: impl std::fmt::Display) -> StoreError {
    damaged(operation, format!("under the key {key}: {what}"))
}
