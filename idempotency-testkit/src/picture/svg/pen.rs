//! Writes SVG: every text and attribute is escaped, and nothing points outside.

use std::fmt::Write;

use super::super::words::{cut, on_one_line};

/// Where a text stands about its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks. Its class is in [`STYLE`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    pub(super) class: &'static str,
    pub(super) size: f64,
    bold: bool,
}

impl Type {
    pub(super) const HEAD: Self = Self { class: "head", size: 20.0, bold: true };
    pub(super) const PROMISE: Self = Self { class: "promise", size: 14.0, bold: false };
    pub(super) const NAME: Self = Self { class: "name", size: 13.0, bold: true };
    pub(super) const SMALL: Self = Self { class: "small", size: 11.0, bold: false };
    pub(super) const NUMBER: Self = Self { class: "number", size: 12.0, bold: true };
    pub(super) const TIME: Self = Self { class: "time", size: 11.0, bold: false };
    pub(super) const LABEL: Self = Self { class: "label", size: 12.0, bold: false };
    pub(super) const LATE: Self = Self { class: "label late", size: 12.0, bold: false };
    pub(super) const LOST: Self = Self { class: "label lost", size: 12.0, bold: false };
    pub(super) const GOOD: Self = Self { class: "label good", size: 12.0, bold: true };
    pub(super) const BAD: Self = Self { class: "label bad", size: 12.0, bold: true };
    pub(super) const PILL: Self = Self { class: "pill", size: 12.0, bold: false };
    pub(super) const BREAK: Self = Self { class: "break", size: 12.0, bold: false };
    pub(super) const BOX: Self = Self { class: "box", size: 13.0, bold: false };
    pub(super) const BOX_NAME: Self = Self { class: "box boxname", size: 13.0, bold: true };
    pub(super) const BOX_HEAD: Self = Self { class: "box boxhead", size: 14.0, bold: true };

    /// How wide a letter is, at the most common: system fonts differ, and the widest of them counts.
    pub(super) const fn letter(self) -> f64 {
        self.size * if self.bold { 0.64 } else { 0.58 }
    }

    /// How wide words may be.
    pub(super) fn fit_width(self, words: &str) -> f64 {
        self.letter() * super::plan::count(words.chars().count())
    }

    /// How many letters fit.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn fit(self, width: f64) -> usize {
        (width / self.letter()).max(1.0) as usize
    }
}

pub(super) const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif;fill:#1f2937}\
.head{font-size:20px;font-weight:700;fill:#b91c1c}.promise{font-size:14px}\
.name{font-size:13px;font-weight:700}.small{font-size:11px;fill:#4b5563}\
.number{font-size:12px;font-weight:700}.time{font-size:11px;fill:#4b5563;font-variant-numeric:tabular-nums}\
.label{font-size:12px;paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}\
.late{fill:#9a3412}.lost{fill:#6b7280;font-style:italic}.good{fill:#166534;font-weight:700}.bad{fill:#b91c1c;font-weight:700}\
.pill{font-size:12px}.break{font-size:12px;font-style:italic;fill:#374151}\
.box{font-size:13px;fill:#7f1d1d}.boxname{font-weight:700}.boxhead{font-size:14px;font-weight:700;fill:#b91c1c}";

/// An SVG in the making.
#[derive(Debug, Default)]
pub(super) struct Pen {
    pub(super) out: String,
}

/// A number as short as it is exact to a tenth of a pixel.
pub(super) fn px(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Its letters, as they may stand in XML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in on_one_line(text).chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // Not a character of XML, though one of Rust.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

impl Pen {
    pub(super) fn element(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        self.start(tag, attributes);
        self.out.truncate(self.out.len() - 1);
        self.out += "/>\n";
    }

    pub(super) fn start(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        let _ = write!(self.out, "<{tag}");
        for (name, value) in attributes {
            let _ = write!(self.out, " {name}=\"{}\"", escaped(value));
        }
        self.out.push('>');
    }

    pub(super) fn end(&mut self, tag: &str) {
        let _ = writeln!(self.out, "</{tag}>");
    }

    /// A text; where it is longer than `width`, its beginning, and all of it as a tooltip.
    pub(super) fn text(&mut self, (x, y): (f64, f64), kind: Type, anchor: Anchor, width: f64, text: &str) {
        self.told(x, y, kind, anchor, &cut(text, kind.fit(width)), text);
    }

    /// A text that stands for a longer one, which is its tooltip.
    pub(super) fn told(&mut self, x: f64, y: f64, kind: Type, anchor: Anchor, shown: &str, whole: &str) {
        let (x, y) = (px(x), px(y));
        let mut attributes = vec![("x", x.as_str()), ("y", y.as_str()), ("class", kind.class)];
        match anchor {
            Anchor::Start => {}
            Anchor::Middle => attributes.push(("text-anchor", "middle")),
            Anchor::End => attributes.push(("text-anchor", "end")),
        }
        self.start("text", &attributes);
        if shown != whole {
            let _ = write!(self.out, "<title>{}</title>", escaped(whole));
        }
        self.out += &escaped(shown);
        self.end("text");
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: f64, dash: &str) {
        let (x1, y1, x2, y2, width) = (px(x1), px(y1), px(x2), px(y2), px(width));
        let mut attributes = vec![
            ("x1", x1.as_str()),
            ("y1", y1.as_str()),
            ("x2", x2.as_str()),
            ("y2", y2.as_str()),
            ("stroke", colour),
            ("stroke-width", width.as_str()),
        ];
        if !dash.is_empty() {
            attributes.push(("stroke-dasharray", dash));
        }
        self.element("line", &attributes);
    }

    /// A rectangle with round corners; `stroke` is empty for none.
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), round: f64, fill: &str, stroke: &str) {
        let (x, y, w, h, round) = (px(x), px(y), px(w), px(h), px(round));
        let mut attributes = vec![
            ("x", x.as_str()),
            ("y", y.as_str()),
            ("width", w.as_str()),
            ("height", h.as_str()),
            ("rx", round.as_str()),
            ("fill", fill),
        ];
        if !stroke.is_empty() {
            attributes.push(("stroke", stroke));
        }
        self.element("rect", &attributes);
    }

    pub(super) fn circle(&mut self, (x, y): (f64, f64), radius: f64, fill: &str, stroke: &str) {
        let (x, y, radius) = (px(x), px(y), px(radius));
        let at = [("cx", x.as_str()), ("cy", y.as_str()), ("r", radius.as_str())];
        let paint = [("fill", fill), ("stroke", stroke), ("stroke-width", "2")];
        self.element("circle", &[&at[..], &paint[..]].concat());
    }

    pub(super) fn polygon(&mut self, points: &[(f64, f64)], fill: &str, stroke: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", px(*x), px(*y))).collect();
        let mut attributes = vec![("points", points.join(" ")), ("fill", fill.to_owned())];
        if !stroke.is_empty() {
            attributes.push(("stroke", stroke.to_owned()));
        }
        let attributes: Vec<(&str, &str)> = attributes.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.element("polygon", &attributes);
    }

    pub(super) fn cross(&mut self, (x, y): (f64, f64), arm: f64, colour: &str) {
        self.line((x - arm, y - arm), (x + arm, y + arm), colour, 2.5, "");
        self.line((x - arm, y + arm), (x + arm, y - arm), colour, 2.5, "");
    }

    /// The head of an arrow that comes to its point from the left, or from the right.
    pub(super) fn head(&mut self, (x, y): (f64, f64), from_left: bool, colour: &str) {
        let back = if from_left { x - 9.0 } else { x + 9.0 };
        self.polygon(&[(x, y), (back, y - 4.5), (back, y + 4.5)], colour, "");
    }

    pub(super) fn star(&mut self, (x, y): (f64, f64), radius: f64, fill: &str, stroke: &str) {
        let point = |at: u8| {
            let reach = if at.is_multiple_of(2) { radius } else { radius * 0.42 };
            let angle = f64::from(at) * std::f64::consts::PI / 5.0;
            (reach.mul_add(angle.sin(), x), reach.mul_add(-angle.cos(), y))
        };
        self.polygon(&(0..10).map(point).collect::<Vec<_>>(), fill, stroke);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_written_is_markup() {
        assert_eq!(escaped("<a href='x'>&\"\u{1b}\u{ffff}"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot; \u{fffd}");
        assert_eq!([px(1.0), px(0.25), px(-3.96)], ["1", "0.2", "-4"]);
    }
}
