//! The provider's books: every charge and refund it ever made, and what it refuses to make.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::journal::{Journal, JournalError};

/// The provider declines what is larger, in minor units.
pub const CARD_LIMIT: u64 = 1_000_000;

/// Which way money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From the customer.
    Charge,
    /// Back to the customer.
    Refund,
}

/// What the provider is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Instruction {
    /// The caller's downstream key.
    pub key: String,
    /// The caller's fence: a smaller one is not obeyed after a look with a larger.
    pub fence: u64,
    /// Which way.
    pub kind: Kind,
    /// For which order.
    pub order: String,
    /// In minor units.
    pub amount: u64,
    /// Three letters, as EUR.
    pub currency: String,
}

/// What the provider did: one line of its ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The transaction's id.
    pub id: String,
    /// What was done.
    #[serde(flatten)]
    pub instruction: Instruction,
    /// What the caller noted with it, such as its client's key, to find it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// What becomes of an instruction.
#[derive(Debug)]
pub enum Verdict {
    /// Money moved now.
    Made(Entry),
    /// It had moved before, under the same key.
    Deduplicated(Entry),
    /// It will not, and why.
    Declined(&'static str),
    /// A later attempt has been here: nothing is done for this one any more.
    Barred,
}

/// The smallest fence that a key still accepts; kept in a file beside the ledger.
#[derive(Debug, Serialize, Deserialize)]
struct Bar {
    key: String,
    fence: u64,
}

/// The books, in a file.
#[derive(Debug)]
pub struct Ledger {
    journal: Journal<Entry>,
    entries: Vec<Entry>,
    bars: Journal<Bar>,
    fences: HashMap<String, u64>,
    deduplicates: bool,
    /// Tells this provider's ids from those of any other.
    prefix: String,
}

impl Ledger {
    /// Opens or creates them.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written, or is no ledger.
    pub fn open(path: &Path, deduplicates: bool) -> Result<Self, JournalError> {
        let (journal, entries) = Journal::open(path)?;
        let (bars, barred) = Journal::<Bar>::open(&path.with_extension("fences.jsonl"))?;
        let mut fences = HashMap::new();
        for Bar { key, fence } in barred {
            fences.insert(key, fence);
        }
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let prefix = format!("{:x}", begun.as_micros());
        Ok(Self { journal, entries, bars, fences, deduplicates, prefix })
    }

    /// Carries out an instruction: the one place where money moves.
    pub fn carry_out(&mut self, instruction: Instruction, reference: Option<String>) -> io::Result<Verdict> {
        if self.deduplicates
            && let Some(made) = self.find(&instruction.key)
        {
            return Ok(Verdict::Deduplicated(made.clone()));
        }
        if instruction.fence < self.bar(&instruction.key) {
            return Ok(Verdict::Barred);
        }
        if instruction.kind == Kind::Charge && instruction.amount > CARD_LIMIT {
            return Ok(Verdict::Declined("over the card's limit"));
        }
        let letters = if instruction.kind == Kind::Charge { "ch" } else { "re" };
        let entry =
            Entry { id: format!("{letters}_{}_{}", self.prefix, self.entries.len() + 1), instruction, reference };
        self.journal.append(&entry)?;
        self.entries.push(entry.clone());
        Ok(Verdict::Made(entry))
    }

    /// Looks a key up, and with a fence bars every earlier attempt, so that what was not found cannot
    /// appear after the look. `None` where the look itself comes from a barred attempt.
    pub fn look(&mut self, key: &str, fence: Option<u64>) -> io::Result<Option<Vec<Entry>>> {
        if let Some(fence) = fence {
            let bar = self.bar(key);
            if fence < bar {
                return Ok(None);
            }
            if fence > bar {
                self.bars.append(&Bar { key: key.into(), fence })?;
                self.fences.insert(key.into(), fence);
            }
        }
        Ok(Some(self.entries.iter().filter(|entry| entry.instruction.key == key).cloned().collect()))
    }

    /// What was done with this reference.
    pub fn with_reference(&self, reference: &str) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.reference.as_deref() == Some(reference)).cloned().collect()
    }

    /// What was done in a transaction.
    pub fn transaction(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.instruction.key == key)
    }

    /// The smallest fence that is still obeyed for a key. Only a look raises it.
    fn bar(&self, key: &str) -> u64 {
        self.fences.get(key).copied().unwrap_or_default()
    }
}
