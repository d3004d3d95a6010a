//! Faults by chance.

use std::collections::BTreeMap;

use super::fault::Fault;
use crate::call::Method;

/// How likely each fault is, method by method, and the seed of the dice.
///
/// The same seed gives the same faults for the same calls in the same order: the `n`th call of a
/// method has the same fault whatever the other methods are called meanwhile.
///
/// ```
/// use idempotency_testkit::{Method, faults::{Chances, Fault}};
///
/// let chances = Chances::seeded(7).every(0.05, Fault::LOST).of(Method::Acquire, 0.5, Fault::DOWN);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "chances do nothing until a layer takes them"]
pub struct Chances {
    seed: u64,
    faults: BTreeMap<Method, Vec<(f64, Fault)>>,
}

impl Chances {
    /// No faults yet, with dice of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, faults: BTreeMap::new() }
    }

    /// Adds a fault that any call of any method has with this probability, from 0 to 1.
    ///
    /// # Panics
    /// Where the probability is not from 0 to 1, or those of a method come to more than 1.
    pub fn every(self, probability: f64, fault: Fault) -> Self {
        Method::ALL.into_iter().fold(self, |chances, method| chances.of(method, probability, fault))
    }

    /// Adds a fault that a call of this method has with this probability, from 0 to 1.
    ///
    /// # Panics
    /// Where the probability is not from 0 to 1, or those of the method come to more than 1.
    pub fn of(mut self, method: Method, probability: f64, fault: Fault) -> Self {
        let faults = self.faults.entry(method).or_default();
        faults.push((probability, fault));
        // A little more is what adding them up may make of 1.
        let sum: f64 = faults.iter().map(|(probability, _)| probability).sum();
        assert!(
            (0.0..=1.0).contains(&probability) && sum < 1.0 + 1e-9,
            "probabilities are from 0 to 1, and so is their sum"
        );
        self
    }

    /// The fault of the `number`th call of a method, from 0.
    pub(super) fn roll(&self, method: Method, number: usize) -> Fault {
        let Some(faults) = self.faults.get(&method) else { return Fault::Works };
        let mut rolled = unit(self.seed, method as u64, number as u64);
        for (probability, fault) in faults {
            if rolled < *probability {
                return *fault;
            }
            rolled -= probability;
        }
        Fault::Works
    }
}

/// A number from 0 to 1, as good as random (SplitMix64; Steele, Lea and Flood, *Fast splittable
/// pseudorandom number generators*, 2014).
fn unit(seed: u64, stream: u64, number: u64) -> f64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = mix(seed.wrapping_add(GOLDEN.wrapping_mul(stream + 1)));
    z = mix(z.wrapping_add(GOLDEN.wrapping_mul(number + 1)));
    // The upper 53 bits, as many as an `f64` has.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let upper = (z >> 11) as f64;
    upper / 9_007_199_254_740_992.0
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
