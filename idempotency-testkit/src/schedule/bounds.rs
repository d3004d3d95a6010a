//! How much may go wrong in one run.

use super::event::Event;

/// How much may go wrong in one run, and of what kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Bounds {
    /// Processes that die.
    pub crashes: u8,
    /// Requests that are dropped, as by a client that disconnects.
    pub drops: u8,
    /// Answers, or requests, of which a client is told that there was no answer.
    pub losses: u8,
    /// Calls to the store that fail with nothing done.
    pub failures: u8,
    /// Calls that arrive after their client has gone, or has given them up.
    pub late: u8,
    /// Pauses of a whole lease in which everything stands still.
    pub lapses: u8,
    /// Times that calls are held up until somebody's patience is over.
    pub waits: u8,
    /// Restarts of the store, where it can.
    pub restarts: u8,
    /// Steps back of the store's clock.
    pub clock_steps: u8,
}

impl Bounds {
    /// Nothing goes wrong; only who is faster is open.
    pub const NONE: Self = Self {
        crashes: 0,
        drops: 0,
        losses: 0,
        failures: 0,
        late: 0,
        lapses: 0,
        waits: 0,
        restarts: 0,
        clock_steps: 0,
    };

    /// What random schedules may do: two of everything but steps of the clock.
    pub const RANDOM: Self = Self {
        crashes: 2,
        drops: 2,
        losses: 2,
        failures: 2,
        late: 2,
        lapses: 2,
        waits: 2,
        restarts: 1,
        clock_steps: 0,
    };

    /// What an exhaustive exploration may do: one crash, one lost answer, one lapse.
    pub const EXHAUSTIVE: Self = Self { crashes: 1, losses: 1, lapses: 1, ..Self::NONE };

    /// Takes an event off what is left.
    pub(super) fn take(&mut self, event: Event, late: bool) {
        let left = match event {
            Event::Crash(_) => &mut self.crashes,
            Event::Drop(_) => &mut self.drops,
            Event::Lose(_) => &mut self.losses,
            Event::Fail(_) => &mut self.failures,
            Event::Lapse => &mut self.lapses,
            Event::Wait => &mut self.waits,
            Event::Restart => &mut self.restarts,
            Event::StepBack => &mut self.clock_steps,
            Event::Carry(_) if late => &mut self.late,
            Event::Begin(_) | Event::Carry(_) | Event::Deliver(_) | Event::Exchange(_) => return,
        };
        *left = left.saturating_sub(1);
    }
}
