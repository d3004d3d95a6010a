//! Who decides what happens next.

use proptest::collection::vec;
use proptest::prelude::*;

use super::event::Event;

/// What a step reads or changes beside its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    Nothing,
    /// The store, under the key with this hash.
    Store(u64),
    /// The world outside, likewise.
    Outside(u64),
    Everything,
}

/// Decides what happens next.
pub(super) trait Source {
    /// Chooses one of `enabled`; the first is what would happen if nothing went wrong. `None` ends the
    /// run there.
    fn choose(&mut self, enabled: &[Event], touches: &dyn Fn(Event) -> Touch) -> Option<usize>;

    /// Whether it has no more wishes: from here on nothing goes wrong.
    fn is_done(&self) -> bool;
}

/// What a random schedule wishes for, step by step: a number for each, of which zero is what happens
/// when nothing goes wrong, and so is all that comes after the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes(Vec<u8>);

impl Wishes {
    /// Wishes for up to forty steps, about two in five of them out of the ordinary.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        vec(prop_oneof![3 => Just(0_u8), 2 => 1_u8..=64], 0..40).prop_map(Self)
    }
}

/// Does as is wished for.
#[derive(Clone, Debug)]
pub(super) struct Script<'a> {
    numbers: &'a [u8],
    at: usize,
}

impl<'a> Script<'a> {
    pub(super) const fn new(Wishes(numbers): &'a Wishes) -> Self {
        Self { numbers: numbers.as_slice(), at: 0 }
    }
}

impl Source for Script<'_> {
    fn choose(&mut self, enabled: &[Event], _: &dyn Fn(Event) -> Touch) -> Option<usize> {
        let number = self.numbers.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        Some(usize::from(number) % enabled.len())
    }

    fn is_done(&self) -> bool {
        self.at >= self.numbers.len()
    }
}

/// As it was printed.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    steps: &'a [Event],
    at: usize,
    /// Whether steps that cannot be taken are passed over.
    as_far: bool,
    /// The step that could not be taken, and what could.
    pub(super) misfit: Option<(usize, Vec<Event>)>,
}

impl<'a> Replay<'a> {
    /// Every step; the run ends where one cannot be taken.
    pub(super) const fn new(steps: &'a [Event]) -> Self {
        Self { steps, at: 0, as_far: false, misfit: None }
    }

    /// The steps that can be taken.
    pub(super) const fn as_far(steps: &'a [Event]) -> Self {
        Self { steps, at: 0, as_far: true, misfit: None }
    }
}

impl Source for Replay<'_> {
    fn choose(&mut self, enabled: &[Event], _: &dyn Fn(Event) -> Touch) -> Option<usize> {
        while let Some(step) = self.steps.get(self.at) {
            self.at += 1;
            if let Some(found) = enabled.iter().position(|event| event == step) {
                return Some(found);
            }
            if !self.as_far {
                self.misfit = Some((self.at - 1, enabled.to_vec()));
                return None;
            }
        }
        Some(0)
    }

    fn is_done(&self) -> bool {
        self.at >= self.steps.len()
    }
}
