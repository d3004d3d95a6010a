//! How much may go wrong in one run.

use super::event::Event;

/// How much may go wrong in one run, and of what kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Processes that die.
    pub(super) crashes: u8,
    /// Requests that are dropped, as by a client that disconnects.
    pub(super) drops: u8,
    /// Answers, or requests, of which a client is told that there was no answer.
    pub(super) losses: u8,
    /// Calls to the store that fail with nothing done.
    pub(super) failures: u8,
    /// Calls that arrive after their client has gone, or has given them up.
    pub(super) late: u8,
    /// Pauses of a whole lease in which everything stands still.
    pub(super) lapses: u8,
    /// Times that calls are held up until somebody's patience is over.
    pub(super) waits: u8,
    /// Restarts of the store, where it can.
    pub(super) restarts: u8,
    /// Steps back of the store's clock.
    pub(super) clock_steps: u8,
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

    /// Sets how many processes may die.
    #[must_use]
    pub const fn with_crashes(self, crashes: u8) -> Self {
        Self { crashes, ..self }
    }

    /// Sets how many requests may be dropped, as by a client that disconnects.
    #[must_use]
    pub const fn with_drops(self, drops: u8) -> Self {
        Self { drops, ..self }
    }

    /// Sets of how many calls a client may be told that there was no answer.
    #[must_use]
    pub const fn with_losses(self, losses: u8) -> Self {
        Self { losses, ..self }
    }

    /// Sets how many calls to the store may fail with nothing done.
    #[must_use]
    pub const fn with_failures(self, failures: u8) -> Self {
        Self { failures, ..self }
    }

    /// Sets how many calls may arrive after their client has gone, or has given them up.
    #[must_use]
    pub const fn with_late(self, late: u8) -> Self {
        Self { late, ..self }
    }

    /// Sets how many pauses of a whole lease there may be.
    #[must_use]
    pub const fn with_lapses(self, lapses: u8) -> Self {
        Self { lapses, ..self }
    }

    /// Sets how often calls may be held up until somebody's patience is over.
    #[must_use]
    pub const fn with_waits(self, waits: u8) -> Self {
        Self { waits, ..self }
    }

    /// Sets how often the store may go down, where it can.
    #[must_use]
    pub const fn with_restarts(self, restarts: u8) -> Self {
        Self { restarts, ..self }
    }

    /// Sets how often the store's clock may step back by two leases.
    #[must_use]
    pub const fn with_clock_steps(self, clock_steps: u8) -> Self {
        Self { clock_steps, ..self }
    }

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
