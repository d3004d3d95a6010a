//! Where a search was already, in vain.

use std::collections::HashMap;

use crate::belief::Belief;

/// Where a search was already, in vain: a set of calls placed, and what is kept after them (Lowe,
/// *Testing for linearizability*, 2017, section 3).
///
/// A set of answered calls is known by a 128-bit sum of numbers that are as good as random, one a
/// call (Zobrist, *A new hashing method with application for game playing*, 1970). Of the unanswered
/// calls that were used on the way, fewer are better: if the search failed after some, it fails after
/// more of them, as each may also be left out.
#[derive(Debug, Default)]
pub(super) struct Memo {
    seen: HashMap<(u128, u64), Vec<Seen>>,
}

#[derive(Debug)]
struct Seen {
    belief: Belief,
    used: Box<[u64]>,
}

impl Memo {
    /// Whether the search was here, or somewhere better.
    pub(super) fn knows(&self, placed: u128, belief: &Belief, used: &[u64]) -> bool {
        let fewer = |few: &[u64]| few.iter().zip(used).all(|(few, used)| few & !used == 0);
        !self.seen.is_empty()
            && self
                .seen
                .get(&(placed, mark(belief)))
                .is_some_and(|seen| seen.iter().any(|seen| seen.belief == *belief && fewer(&seen.used)))
    }

    /// The search was here in vain.
    pub(super) fn learn(&mut self, placed: u128, belief: Belief, used: &[u64]) {
        self.seen.entry((placed, mark(&belief))).or_default().push(Seen { belief, used: used.into() });
    }
}

/// A call's number in the sums.
pub(super) fn number(call: u32) -> u128 {
    u128::from(mixed(u64::from(call) * 2 + 1)) << 64 | u128::from(mixed(u64::from(call) * 2 + 2))
}

fn mark(belief: &Belief) -> u64 {
    belief.record().map_or(0, |record| {
        mixed(record.lock.fence.get() ^ mixed(record.forgotten_at().as_micros() ^ u64::from(record.attempt)))
    })
}

/// SplitMix64's finishing step (Steele, Lea and Flood, *Fast splittable pseudorandom number
/// generators*, 2014).
const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
