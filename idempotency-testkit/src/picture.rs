//! Timelines of schedules, for people.
