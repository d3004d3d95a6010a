//! One line of the timeline, as letters in columns.

use super::lines::{LEFT, OUTSIDE};
use super::scene::{Across, End, Fate, Going, Life, Stretch};
use super::standing::Hold;

/// One line of the timeline.
pub(super) struct Grid {
    letters: Vec<char>,
    lanes: usize,
    lane_width: usize,
}

impl Grid {
    pub(super) const fn new(lanes: usize, lane_width: usize) -> Self {
        Self { letters: Vec::new(), lanes, lane_width }
    }

    /// Where a lane's lifeline is.
    pub(super) const fn lane(&self, lane: usize) -> usize {
        LEFT + lane * self.lane_width
    }

    /// Where the lifeline of the world outside is.
    pub(super) const fn outside(&self) -> usize {
        self.lane(self.lanes) + 1
    }

    /// Where the store's lifeline is.
    pub(super) const fn store(&self) -> usize {
        self.lane(self.lanes) + OUTSIDE
    }

    pub(super) fn put(&mut self, x: usize, letter: char) {
        if self.letters.len() <= x {
            self.letters.resize(x + 1, ' ');
        }
        self.letters[x] = letter;
    }

    pub(super) fn write(&mut self, x: usize, text: &str) {
        for (at, letter) in text.chars().enumerate() {
            self.put(x + at, letter);
        }
    }

    pub(super) fn line(&self) -> String {
        self.letters.iter().collect()
    }

    pub(super) fn lifelines(&mut self, stretches: &[Stretch]) {
        for (lane, stretch) in stretches.iter().enumerate() {
            // What the store says of a lock comes before what its client thinks, and the lock before the life.
            let has = |wanted| stretch.holds.iter().any(|(_, hold)| *hold == wanted);
            let letter = match stretch.life {
                _ if has(Hold::Wrongly) => '║',
                _ if has(Hold::Live) => '┃',
                _ if has(Hold::Lapsed) => '┇',
                _ if has(Hold::Believed) => '╎',
                Life::Running => '│',
                Life::Afterglow => '┊',
                Life::NotYet | Life::Over => ' ',
            };
            self.put(self.lane(lane), letter);
        }
        self.put(self.outside(), '┊');
        self.put(self.store(), '│');
    }

    const fn end(&self, end: End) -> usize {
        match end {
            End::Store => self.store(),
            End::Outside => self.outside(),
        }
    }

    pub(super) fn goes(&mut self, going: &Going, words: &str) {
        let from = self.lane(going.lane);
        let to = self.end(going.to);
        let stroke = match (going.onward, going.late) {
            (true, _) => '┈',
            (false, true) => '╌',
            (false, false) => '─',
        };
        let label = from + 3;
        let arrives = going.fate == Fate::Arrives;
        let until = if arrives { to } else { (from + self.lane_width).max(label + words.chars().count() + 2).min(to) };
        self.stroke(from + 1, until, stroke);
        self.put(from, joined(self.letters[from]));
        self.write(label - 1, &format!(" {words} "));
        match going.fate {
            Fate::Arrives => self.put(to - 1, '▶'),
            Fate::Lost => self.put(until - 1, '⤫'),
            Fate::Fails => self.write(until - 1, "⤫ fails"),
        }
        match going.effect {
            Some(had) => self.write(to, &format!("★{}{}", had.count, if had.forbidden { " ✗" } else { "" })),
            None if arrives && going.to == End::Outside => self.put(to, '┤'),
            None => {}
        }
    }

    pub(super) fn comes(&mut self, lane: usize, from: End, words: &str, lost: bool) {
        let (to, from) = (self.lane(lane), self.end(from));
        if lost {
            // The cross stands in the middle of the way that the answer had before it.
            let cross = to.midpoint(from).max(to + 4 + words.chars().count());
            self.stroke(cross + 1, from, '─');
            self.put(cross.min(from - 1), '⤫');
            self.write(to + 3, words);
        } else {
            self.stroke(to + 1, from, '─');
            self.put(to + 1, '◀');
            self.write(to + 3, &format!("{words} "));
        }
        self.put(from, '┤');
    }

    pub(super) fn across(&mut self, kind: Across, text: &str) {
        let (stroke, text) = match kind {
            Across::Lapse => ('≈', text.to_owned()),
            Across::Wait => ('·', text.to_owned()),
            Across::Restart | Across::StepBack => ('═', text.to_owned()),
        };
        let to = self.store();
        for x in LEFT..to {
            self.put(x, stroke);
        }
        self.write(LEFT + 3, &format!(" {} ", super::words::cut(&text, to - LEFT - 6)));
        self.put(to, if kind == Across::Restart { '╪' } else { '│' });
    }

    /// A line from left to right, behind the lifelines that it crosses.
    fn stroke(&mut self, from: usize, to: usize, stroke: char) {
        for x in from..to {
            let crossed = match self.letters.get(x).copied().unwrap_or(' ') {
                '│' if stroke == '─' => '┼',
                '┃' if stroke == '─' => '╂',
                '┊' | ' ' => stroke,
                other => other,
            };
            self.put(x, crossed);
        }
    }
}

const fn joined(letter: char) -> char {
    match letter {
        '┃' => '┠',
        '║' => '╟',
        '│' => '├',
        ' ' => '╶',
        other => other,
    }
}
