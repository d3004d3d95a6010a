//! The timeline as text.

use super::grid::Grid;
use super::scene::{Drawn, Line, Mark, Scene};
use super::words::{cut, time, wrapped};

/// What the widest line should not go beyond.
pub(super) const WIDTH: usize = 120;
/// The step's number and its time.
pub(super) const LEFT: usize = 16;
/// A lane is never narrower: an arrow and four letters.
const NARROWEST: usize = 8;
/// A wider lane only parts things that belong together.
const WIDEST: usize = 30;
/// The world outside, with the effects counted.
pub(super) const OUTSIDE: usize = 10;
/// How the keys stand.
const STORE: usize = 32;

pub(super) fn drawn(scene: &Scene) -> String {
    let mut timeline = Timeline { scene, out: String::new(), cut: false };
    if scene.steps.is_empty() {
        timeline.push("(no step was taken)");
    } else {
        timeline.heads();
        for (at, step) in scene.steps.iter().enumerate() {
            timeline.step(step, at == 0, at + 1 == scene.steps.len());
        }
    }
    timeline.broken();
    timeline.below();
    timeline.out
}

struct Timeline<'a> {
    scene: &'a Scene,
    out: String,
    /// Whether something did not fit where it belongs.
    cut: bool,
}

impl Timeline<'_> {
    fn lane_width(&self) -> usize {
        let lanes = self.scene.lanes.len().max(1);
        ((WIDTH - LEFT - OUTSIDE - STORE + 2) / lanes).clamp(NARROWEST, WIDEST)
    }

    fn grid(&self) -> Grid {
        Grid::new(self.scene.lanes.len(), self.lane_width())
    }

    fn push(&mut self, line: &str) {
        self.out += line.trim_end();
        self.out.push('\n');
    }

    fn heads(&mut self) {
        let width = self.lane_width() - 1;
        let (mut names, mut requests) = (self.grid(), self.grid());
        names.write(0, "step  time");
        for (lane, head) in self.scene.lanes.iter().enumerate() {
            let name = format!("client {}", head.client);
            let name = if name.chars().count() > width { format!("cl. {}", head.client) } else { name };
            names.write(names.lane(lane), &cut(&name, width));
            self.cut |= head.request.chars().count() > width;
            requests.write(requests.lane(lane), &cut(&head.request, width));
        }
        names.write(names.outside(), "outside");
        names.write(names.store(), "store");
        requests.write(requests.outside(), "effects");
        if let [key] = self.scene.keys.as_slice() {
            requests.write(requests.store(), &cut(key, STORE));
        }
        let rule = "─".repeat(names.store() + STORE - 2);
        for line in [names.line(), requests.line(), rule] {
            self.push(&line);
        }
    }

    fn step(&mut self, step: &Drawn, first: bool, last: bool) {
        let broke = last && self.scene.broken.is_some();
        // What stands as before is not said again: what changes is what is looked for.
        let said: Vec<usize> = (0..step.kept.len()).filter(|key| first || last || step.changed.contains(key)).collect();
        for at in 0..step.lines.len().max(said.len()) {
            let mut grid = self.grid();
            if at == 0 {
                let sign = if broke { "✗" } else { " " };
                grid.write(0, &format!("{sign}{:>3}  {}", step.number, time(step.at)));
            }
            match step.lines.get(at) {
                Some(line) => self.line(&mut grid, line),
                None => self.between(&mut grid, step),
            }
            if let Some(key) = said.get(at) {
                let letter = self.scene.letter(*key);
                let words = &step.kept[*key].words;
                let words = if letter.is_empty() { words.clone() } else { format!("{letter} {words}") };
                let room = STORE - 2;
                let words = if words.chars().count() > room { words.replace("(attempt ", "(#") } else { words };
                self.cut |= words.chars().count() > room;
                grid.write(grid.store() + 2, &cut(&words, room));
            }
            self.push(&grid.line());
        }
    }

    /// A line in which nothing happens.
    fn between(&self, grid: &mut Grid, step: &Drawn) {
        if let Some(line) = step.lines.last() {
            grid.lifelines(&line.stretches);
        }
    }

    fn line(&mut self, grid: &mut Grid, line: &Line) {
        grid.lifelines(&line.stretches);
        let Some(mark) = &line.mark else { return };
        let room = self.lane_width().saturating_sub(4);
        match mark {
            Mark::Begins { lane } => self.note(grid, *lane, '●', "begins", ""),
            Mark::Crashes { lane } => self.note(grid, *lane, '✕', "crashes", ""),
            Mark::Dropped { lane } => self.note(grid, *lane, '○', "dropped", ""),
            Mark::Ends { lane, result } => {
                let (sign, result, short) = match result {
                    Ok(value) => ('■', format!("Ok({value})"), "Ok"),
                    Err(error) => ('□', format!("Err({error})"), "Err"),
                };
                self.note(grid, *lane, sign, &result, short);
            }
            Mark::Sends { lane, what } => {
                let (words, cut) = what.within(room.saturating_sub(1));
                self.cut |= cut;
                grid.write(grid.lane(*lane) + 2, &format!("⋯ {words}"));
            }
            Mark::Goes(going) => {
                let letter = going.key.map_or_else(String::new, |key| self.scene.letter(key));
                let more = if letter.is_empty() { String::new() } else { format!(" {letter}") };
                let more = if going.late && room > 12 { format!("{more}, late") } else { more };
                let (words, cut) = going.what.within(room.saturating_sub(more.chars().count()));
                self.cut |= cut;
                grid.goes(going, &format!("{words}{more}"));
            }
            Mark::Comes { lane, from, what, lost } => {
                let before = if *lost && room > 12 { "lost: " } else { "" };
                let (words, cut) = what.within(room - before.len());
                self.cut |= cut;
                let words = format!("{before}{words}");
                grid.comes(*lane, *from, &words, *lost);
            }
            Mark::Across(kind, text) => grid.across(*kind, text),
        }
    }

    /// A sign on a lifeline, with words beside it: the short ones where a beginning would say less.
    fn note(&mut self, grid: &mut Grid, lane: usize, sign: char, words: &str, short: &str) {
        let room = self.lane_width() - 3;
        let too_long = words.chars().count() > room;
        self.cut |= too_long;
        let words = if too_long && room < 12 { short } else { words };
        let x = grid.lane(lane);
        grid.put(x, sign);
        grid.write(x + 2, &cut(words, room));
    }

    fn broken(&mut self) {
        let Some(broken) = &self.scene.broken else { return };
        let at = self.scene.steps.len();
        let head = format!("══✗ step {at} breaks the rule \"{}\" ", broken.rule);
        let promise = broken.rule.promise();
        let what = wrapped(&broken.what, WIDTH - 4);
        self.push(&format!("{head}{}", "═".repeat(WIDTH.saturating_sub(head.chars().count()))));
        self.push(&format!("  promised: {promise}"));
        for line in what {
            self.push(&format!("  {line}"));
        }
        self.push(&"═".repeat(WIDTH));
    }

    fn below(&mut self) {
        let scene = self.scene;
        if scene.keys.len() > 1 {
            for (at, key) in scene.keys.iter().enumerate() {
                self.push(&format!("key {}: {key}", scene.letter(at)));
            }
        }
        if self.cut {
            self.push("in full:");
            let first = scene.lanes.first().map_or("", |lane| lane.request.as_str());
            if scene.lanes.iter().all(|lane| lane.request == first) {
                self.whole("all", &format!("ask for {first}"));
            } else {
                for lane in &scene.lanes {
                    self.whole("", &format!("client {} asks for {}", lane.client, lane.request));
                }
            }
            for step in &scene.steps {
                self.whole(&step.number.to_string(), &step.words);
            }
        }
        if !scene.steps.is_empty() {
            self.push("┃ holds the key  ┇ its lease ran out  ╎ thinks that it holds it  ║ given it wrongly  ─▶ call  ◀─ answer  ╌▶ late  ⤫ lost");
            self.push("★ effect  ● begins  ✕ crashes  ○ dropped  ■ ends with Ok  □ with Err  ⋯ sent, and on its way");
        }
    }

    /// What did not fit, in full.
    fn whole(&mut self, head: &str, text: &str) {
        for (at, line) in wrapped(text, WIDTH - 6).iter().enumerate() {
            self.push(&format!("{:>4}  {line}", if at == 0 { head } else { "" }));
        }
    }
}
