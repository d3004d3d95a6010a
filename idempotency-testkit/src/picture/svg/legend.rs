//! What the signs mean.

use super::super::standing::{Hold, Stand};
use super::lanes::{INK, bar, colours};
use super::marks::{GREEN, LATE, RED, STAR};
use super::pen::{Anchor, Pen, Type};
use super::plan::MARGIN;

const LINE: f64 = 22.0;

/// A sign, and its meaning.
type Sign = (fn(&mut Pen, f64, f64), &'static str);

const SIGNS: [Sign; 13] = [
    (|pen, x, y| bar(pen, (x + 8.0, y - 8.0), y + 8.0, 0, Hold::Live), "holds the key"),
    (|pen, x, y| bar(pen, (x + 8.0, y - 8.0), y + 8.0, 0, Hold::Lapsed), "its lease ran out"),
    (|pen, x, y| bar(pen, (x + 8.0, y - 8.0), y + 8.0, 0, Hold::Believed), "thinks that it holds it"),
    (|pen, x, y| bar(pen, (x + 8.0, y - 8.0), y + 8.0, 0, Hold::Wrongly), "given it wrongly"),
    (|pen, x, y| arrow(pen, x, y, LATE, "6 4"), "late: nobody waits for it"),
    (|pen, x, y| pen.cross((x + 8.0, y), 5.0, RED), "lost, or crashed"),
    (|pen, x, y| pen.circle((x + 8.0, y), 5.0, INK, INK), "begins"),
    (|pen, x, y| pen.circle((x + 8.0, y), 5.0, "#ffffff", RED), "dropped"),
    (|pen, x, y| pen.rect((x + 1.0, y - 3.0), (14.0, 6.0), 0.0, GREEN, ""), "ends with Ok"),
    (|pen, x, y| pen.rect((x + 1.0, y - 3.0), (14.0, 6.0), 0.0, RED, ""), "ends with Err"),
    (|pen, x, y| pen.star((x + 8.0, y), 9.0, STAR, "#78350f"), "effect"),
    (|pen, x, y| pen.star((x + 8.0, y), 9.0, RED, "#78350f"), "effect that must not be"),
    (|pen, x, y| arrow(pen, x, y, INK, ""), "call, or answer"),
];

fn arrow(pen: &mut Pen, x: f64, y: f64, colour: &str, dash: &str) {
    pen.line((x - 2.0, y), (x + 10.0, y), colour, 1.5, dash);
    pen.head((x + 17.0, y), true, colour);
}

/// Draws it at `top`, in lines no longer than `width`. How high it is.
pub(super) fn draw(pen: &mut Pen, top: f64, width: f64) -> f64 {
    let (mut x, mut y) = (MARGIN, top + LINE / 2.0);
    let mut place = |words: &str| {
        let wide = 24.0 + Type::SMALL.fit_width(words) + 18.0;
        if x + wide > width - MARGIN + 18.0 {
            (x, y) = (MARGIN, y + LINE);
        }
        let at = (x, y);
        x += wide;
        at
    };
    for (sign, words) in SIGNS {
        let (x, y) = place(words);
        sign(pen, x, y);
        pen.told(x + 24.0, y + 4.0, Type::SMALL, Anchor::Start, words, words);
    }
    for stand in Stand::ALL {
        let (x, y) = place(stand.name());
        let (paper, _, strong) = colours(stand);
        pen.rect((x, y - 6.0), (18.0, 12.0), 6.0, paper, strong);
        pen.told(x + 24.0, y + 4.0, Type::SMALL, Anchor::Start, stand.name(), stand.name());
    }
    y + LINE / 2.0 - top
}
