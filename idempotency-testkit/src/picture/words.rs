//! Words in the room that there is for them.

use std::time::Duration;

/// The same said in full and more shortly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// In full.
    pub(super) full: String,
    /// In a word or two.
    pub(super) short: String,
    /// In four letters or so.
    pub(super) tiny: String,
}

impl Words {
    /// A call: `store_result (a value of 6 bytes)`, `store_result`, `put`.
    pub(super) fn call(what: &str) -> Self {
        let full = on_one_line(what);
        let short = full.split(" (").next().unwrap_or_default().trim_start_matches("the ").to_owned();
        let tiny = match short.as_str() {
            "acquire_lock" => "acq",
            "extend_lock" => "ext",
            "store_result" => "put",
            "release_lock" => "rel",
            "effect" => "eff",
            "a look outside" => "look",
            other => other,
        };
        Self { tiny: tiny.to_owned(), short, full }
    }

    /// An answer: `acquired: attempt 2, fence 2, told that attempt 1 is unknown`, `acquired #2`, `ok#2`.
    pub(super) fn answer(told: &str) -> Self {
        let full = on_one_line(told);
        let head = full.split([':', ',', '(']).next().unwrap_or_default();
        let verb = head.split(" by ").next().unwrap_or_default().trim();
        let number = full.split("attempt ").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
        let number: String = number.unwrap_or_default();
        let short = match verb {
            "acquired" if !number.is_empty() => format!("acquired #{number}"),
            _ => verb.to_owned(),
        };
        let tiny = match verb {
            "acquired" => format!("ok#{number}"),
            "in progress" => "busy".into(),
            "completed" => "done".into(),
            "released" => "rel'd".into(),
            "unknown" => "unk".into(),
            "mismatch" => "other".into(),
            "nothing there" => "none".into(),
            "not had" => "no".into(),
            other => other.to_owned(),
        };
        Self { full, short, tiny }
    }

    /// The longest of them that fits, or the beginning of the shortest. Whether something is missing
    /// from it that only the full text has.
    pub(super) fn within(&self, width: usize) -> (String, bool) {
        for words in [&self.full, &self.short] {
            if words.chars().count() <= width {
                return (words.clone(), false);
            }
        }
        (cut(&self.tiny, width), true)
    }
}

/// Its beginning, with a mark where the rest is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { format!("{}…", kept.trim_end()) }
}

/// Anything that would leave its line, or change a terminal, as a blank.
pub(super) fn on_one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Its lines, none of them longer than `width` letters. Indentation stays with the first.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(8);
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = on_one_line(line);
        // Columns stay columns where they can.
        if line.chars().count() <= width {
            lines.push(line);
            continue;
        }
        let indent: String = line.chars().take_while(|letter| *letter == ' ').take(width / 2).collect();
        let mut current = indent.clone();
        for word in line.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            let begun = current.chars().count() > indent.len();
            if begun && current.chars().count() + 1 + word.len() > width {
                lines.push(std::mem::replace(&mut current, format!("{indent}  ")));
            } else if begun {
                current.push(' ');
            }
            // A word longer than a line is broken where the line ends.
            loop {
                let room = width.saturating_sub(current.chars().count()).max(1);
                if word.len() <= room {
                    break;
                }
                current.extend(word.drain(..room));
                lines.push(std::mem::replace(&mut current, format!("{indent}  ")));
            }
            current.extend(word);
        }
        lines.push(current);
    }
    lines
}

/// A time as people write it: `0 s`, `12 ms`, `30.001 s`, `10 min 3 s`.
pub(super) fn time(at: Duration) -> String {
    let millis = at.as_millis();
    match (at.as_secs(), at.subsec_millis()) {
        (0, 0) if at.is_zero() => "0 s".into(),
        (0, 0) => format!("{} µs", at.as_micros()),
        (0, _) => format!("{millis} ms"),
        (secs @ 0..600, 0) => format!("{secs} s"),
        (secs @ 0..600, rest) => format!("{secs}.{rest:03} s"),
        (secs @ 600..86_400, _) => format!("{} min {} s", secs / 60, secs % 60),
        (secs, _) => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_said_in_the_room_there_is() {
        let words = Words::answer("acquired: attempt 2, fence 2, told that attempt 1 is unknown");
        assert_eq!(words.within(80), (words.full.clone(), false));
        assert_eq!(words.within(12), ("acquired #2".into(), false));
        assert_eq!(words.within(5), ("ok#2".into(), true));
        assert_eq!(words.within(3), ("ok…".into(), true));
        assert_eq!(Words::answer("completed by attempt 1: a value of 6 bytes").short, "completed");
        assert_eq!(Words::call("store_result (a value of 6 bytes)").within(4), ("put".into(), true));
    }

    #[test]
    fn no_wrapped_line_is_too_long_and_no_letter_is_missing() {
        let text = "  answered  a_word_that_is_longer_than_any_line_is and more\nthe end";
        let lines = wrapped(text, 20);
        assert!(lines.iter().all(|line| line.chars().count() <= 20), "{lines:?}");
        let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
        assert_eq!(letters(&lines.concat()), letters(text));
    }

    #[test]
    fn times_are_told_as_people_write_them() {
        let told = [0, 12, 1000, 30_001, 603_000, 90_000_000].map(|millis| time(Duration::from_millis(millis)));
        assert_eq!(told, ["0 s", "12 ms", "1 s", "30.001 s", "10 min 3 s", "1 d 1 h"]);
    }

    #[test]
    fn nothing_leaves_its_line() {
        assert_eq!(on_one_line("a\nb\u{1b}[1mc"), "a b [1mc");
    }
}
