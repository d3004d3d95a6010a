//! Timelines of schedules, for people.

use std::fmt::Write;

use crate::schedule::Trace;

/// The timeline as text.
#[must_use]
pub fn text(trace: &Trace) -> String {
    let mut text = String::new();
    for step in &trace.steps {
        let _ = writeln!(text, "{:?} {}: {}", step.at, step.event, step.text);
    }
    text
}

/// The timeline as a drawing.
#[must_use]
pub fn svg(trace: &Trace) -> String {
    text(trace)
}
