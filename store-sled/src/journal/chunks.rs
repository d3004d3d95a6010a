//! Long values, in pieces that sled keeps in its log.
//!
//! The order does the work that a transaction would: the pieces first, under an id that nobody
//! knows, then the record that names them. The log is flushed in order, so a durable record has
//! durable pieces. A crash in between leaves pieces without a record, which a sweep removes.

use std::ops::Bound;

use sled::IVec;

use crate::journal::error::JournalError;
use crate::journal::ledger::Ticket;
use crate::journal::{Journal, Seen, VALUE_LIMIT};

/// Names the pieces of one value. Must never be used twice; make it random.
pub(crate) type ChunkId = [u8; 16];

/// A writer waits for the disk whenever it is this far ahead of it.
const AHEAD: usize = 256 * 1024;

const SWEEP_PAGE: usize = 64;

impl Journal {
    /// Writes `value` in pieces under `prefix` and `id`. The ticket need not be waited for: that of
    /// the record which then names them covers them.
    ///
    /// When cancelled, some pieces stay until the next sweep.
    ///
    /// # Errors
    ///
    /// [`JournalError::TooLarge`] for the prefix, or [`JournalError::Closed`] after a fault.
    pub(crate) async fn put_chunks(&self, prefix: &[u8], id: &ChunkId, value: &[u8]) -> Result<Ticket, JournalError> {
        let mut key = chunk_key(prefix, id);
        let mut ahead = 0;
        for (number, piece) in (0_u32..).zip(value.chunks(VALUE_LIMIT)) {
            set_number(&mut key, number);
            let ticket = self.insert(&key, piece)?;
            ahead += piece.len();
            if ahead >= AHEAD {
                ahead = 0;
                ticket.durable().await?;
            }
        }
        Ok(self.ticket())
    }

    /// The value of `len` bytes under `prefix` and `id`; `None` if a piece is missing, as when the
    /// record that named it has been replaced since it was read.
    ///
    /// # Errors
    ///
    /// [`JournalError::Closed`] after a fault.
    pub(crate) fn get_chunks(
        &self,
        prefix: &[u8],
        id: &ChunkId,
        len: usize,
    ) -> Result<Seen<Option<Vec<u8>>>, JournalError> {
        let mut key = chunk_key(prefix, id);
        let mut value = Vec::new();
        for number in 0..count(len) {
            set_number(&mut key, number);
            let Some(piece) = self.get(&key)?.value else { break };
            value.extend_from_slice(&piece);
        }
        let value = (value.len() == len).then_some(value);
        Ok(Seen { value, ticket: self.ticket() })
    }

    /// Removes the pieces of a value of `len` bytes; after the record that named them is gone
    /// *durably*, or a crash could bring back the record alone.
    ///
    /// # Errors
    ///
    /// [`JournalError::Closed`] after a fault.
    pub(crate) fn remove_chunks(&self, prefix: &[u8], id: &ChunkId, len: usize) -> Result<Ticket, JournalError> {
        let mut key = chunk_key(prefix, id);
        for number in 0..count(len) {
            set_number(&mut key, number);
            let _covered = self.remove(&key)?;
        }
        Ok(self.ticket())
    }

    /// Removes every piece of `id`, of whatever length the value was.
    ///
    /// # Errors
    ///
    /// [`JournalError::Closed`] after a fault.
    pub(crate) fn sweep_chunks(&self, prefix: &[u8], id: &ChunkId) -> Result<Ticket, JournalError> {
        let mut from = Bound::Included(chunk_key(prefix, id));
        loop {
            let page = self.scan(from.as_ref().map(Vec::as_slice), SWEEP_PAGE)?.value;
            let own: Vec<IVec> = page
                .into_iter()
                .map(|(key, _)| key)
                .take_while(|key| id_of(prefix, key).as_ref() == Some(id))
                .collect();
            let Some(last) = own.last() else { return Ok(self.ticket()) };
            from = Bound::Excluded(last.to_vec());
            for key in &own {
                let _covered = self.remove(key)?;
            }
        }
    }
}

fn chunk_key(prefix: &[u8], id: &ChunkId) -> Vec<u8> {
    [prefix, id, &0_u32.to_be_bytes()].concat()
}

fn set_number(key: &mut [u8], number: u32) {
    let at = key.len() - size_of::<u32>();
    key[at..].copy_from_slice(&number.to_be_bytes());
}

fn id_of(prefix: &[u8], key: &[u8]) -> Option<ChunkId> {
    key.strip_prefix(prefix)?.first_chunk().copied()
}

fn count(len: usize) -> u32 {
    u32::try_from(len.div_ceil(VALUE_LIMIT)).unwrap_or(u32::MAX)
}
