//! What a schedule decides, step by step.

use std::fmt;
use std::str::FromStr;

/// A call on its way, by the client that made it and its number among that client's calls: `1a` is
/// the first call of client 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flight {
    /// The client, from 1.
    pub client: u8,
    /// The call's number, from 0.
    pub number: u16,
}

/// One step of a schedule.
///
/// Its text is what a schedule is printed as and read back from: `begin 1`, `exchange 1a`, `lapse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A client sends its request: it runs to its first call.
    Begin(u8),
    /// A call reaches the store, or the world outside, and has its effect there; its answer is on its
    /// way. A call that a store does not make in one go goes on to its next await point.
    Carry(Flight),
    /// A call's answer reaches its client, which goes on.
    Deliver(Flight),
    /// Both, at once.
    Exchange(Flight),
    /// A client is told that there was no answer; the call may have been made, or be made later.
    Lose(Flight),
    /// A call fails with nothing done, and its client is told so.
    Fail(Flight),
    /// A client's process dies: nothing of it goes on, and nothing is tidied up.
    Crash(u8),
    /// A client's request is dropped, as when its caller disconnects: its process lives on.
    Drop(u8),
    /// Everything stands still while a lease goes by, as in a long pause.
    Lapse,
    /// Time passes until something happens.
    Wait,
    /// The store goes down and comes up again: what was not durable is gone.
    Restart,
    /// The store's clock steps back by two leases.
    StepBack,
}

impl Event {
    /// The client whose step it is, if it is one's.
    #[must_use]
    pub const fn client(self) -> Option<u8> {
        match self {
            Self::Begin(client) | Self::Crash(client) | Self::Drop(client) => Some(client),
            Self::Carry(flight)
            | Self::Deliver(flight)
            | Self::Exchange(flight)
            | Self::Lose(flight)
            | Self::Fail(flight) => Some(flight.client),
            Self::Lapse | Self::Wait | Self::Restart | Self::StepBack => None,
        }
    }

    /// The call that it moves, if it moves one.
    #[must_use]
    pub const fn flight(self) -> Option<Flight> {
        match self {
            Self::Carry(flight)
            | Self::Deliver(flight)
            | Self::Exchange(flight)
            | Self::Lose(flight)
            | Self::Fail(flight) => Some(flight),
            Self::Begin(_)
            | Self::Crash(_)
            | Self::Drop(_)
            | Self::Lapse
            | Self::Wait
            | Self::Restart
            | Self::StepBack => None,
        }
    }

    /// The same step, of another client.
    pub(super) fn of_others(self, other: impl Fn(u8) -> u8) -> Self {
        let moved = |flight: Flight| Flight { client: other(flight.client), ..flight };
        match self {
            Self::Begin(client) => Self::Begin(other(client)),
            Self::Crash(client) => Self::Crash(other(client)),
            Self::Drop(client) => Self::Drop(other(client)),
            Self::Carry(flight) => Self::Carry(moved(flight)),
            Self::Deliver(flight) => Self::Deliver(moved(flight)),
            Self::Exchange(flight) => Self::Exchange(moved(flight)),
            Self::Lose(flight) => Self::Lose(moved(flight)),
            Self::Fail(flight) => Self::Fail(moved(flight)),
            Self::Lapse | Self::Wait | Self::Restart | Self::StepBack => self,
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Begin(_) => "begin",
            Self::Carry(_) => "carry",
            Self::Deliver(_) => "deliver",
            Self::Exchange(_) => "exchange",
            Self::Lose(_) => "lose",
            Self::Fail(_) => "fail",
            Self::Crash(_) => "crash",
            Self::Drop(_) => "drop",
            Self::Lapse => "lapse",
            Self::Wait => "wait",
            Self::Restart => "restart",
            Self::StepBack => "step back",
        }
    }
}

/// `1a`; after the 26th call, `1z26` and so on.
impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            number @ 0..26 => write!(f, "{}{}", self.client, char::from(b'a' + number as u8)),
            number => write!(f, "{}z{number}", self.client),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())?;
        match (self.flight(), self.client()) {
            (Some(flight), _) => write!(f, " {flight}"),
            (None, Some(client)) => write!(f, " {client}"),
            (None, None) => Ok(()),
        }
    }
}

/// A text that is no step of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnEvent(String);

impl fmt::Display for NotAnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no step of a schedule; steps are such as `begin 1`, `exchange 1a`, `lapse`", self.0)
    }
}

impl std::error::Error for NotAnEvent {}

impl FromStr for Event {
    type Err = NotAnEvent;

    fn from_str(text: &str) -> Result<Self, NotAnEvent> {
        let text = text.trim();
        let unknown = || NotAnEvent(text.into());
        match text {
            "lapse" => return Ok(Self::Lapse),
            "wait" => return Ok(Self::Wait),
            "restart" => return Ok(Self::Restart),
            "step back" => return Ok(Self::StepBack),
            _ => {}
        }
        let (verb, whose) = text.split_once(' ').ok_or_else(unknown)?;
        let client = || whose.parse().map_err(|_| unknown());
        let flight = || whose.parse().map_err(|()| unknown());
        Ok(match verb {
            "begin" => Self::Begin(client()?),
            "crash" => Self::Crash(client()?),
            "drop" => Self::Drop(client()?),
            "carry" => Self::Carry(flight()?),
            "deliver" => Self::Deliver(flight()?),
            "exchange" => Self::Exchange(flight()?),
            "lose" => Self::Lose(flight()?),
            "fail" => Self::Fail(flight()?),
            _ => return Err(unknown()),
        })
    }
}

impl FromStr for Flight {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or(())?;
        let client = text[..at].parse().map_err(|_| ())?;
        let number = match &text.as_bytes()[at..] {
            [letter @ b'a'..=b'z'] => u16::from(letter - b'a'),
            [b'z', digits @ ..] => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(())?,
            _ => return Err(()),
        };
        Ok(Self { client, number })
    }
}

/// The steps of one run, from the first to the last; its text is one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(pub Vec<Event>);

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, event) in self.0.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { ", " })?;
            event.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = NotAnEvent;

    fn from_str(text: &str) -> Result<Self, NotAnEvent> {
        let steps = text.split(',').filter(|step| !step.trim().is_empty());
        steps.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_back_as_it_was_printed() {
        let [first, late, last] = [0, 30, 700].map(|number| Flight { client: 12, number });
        let all = Schedule(vec![
            Event::Begin(1),
            Event::Carry(first),
            Event::Deliver(late),
            Event::Exchange(first),
            Event::Lose(first),
            Event::Fail(last),
            Event::Crash(3),
            Event::Drop(4),
            Event::Lapse,
            Event::Wait,
            Event::Restart,
            Event::StepBack,
        ]);
        let text = all.to_string();
        assert!(text.starts_with("begin 1, carry 12a, deliver 12z30, "), "{text}");
        assert_eq!(text.parse(), Ok(all));
        assert_eq!("  ".parse(), Ok(Schedule::default()));
        for wrong in ["begin", "begin x", "carry 1", "carry a", "sing 1", "lapse 1"] {
            assert!(wrong.parse::<Schedule>().unwrap_err().to_string().contains(wrong));
        }
    }
}
