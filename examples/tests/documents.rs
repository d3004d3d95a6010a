//! `docs/five-documents.md` says where each feature is, and which test shows it. This holds it to that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/five-documents.md");
/// What a row says instead of a place where the feature is the application's, or nobody's.
const NOT_HERE: &str = "**Not here.**";

struct Row<'a> {
    line: usize,
    cells: Vec<&'a str>,
}

impl Row<'_> {
    fn complain(&self, what: &str) -> String {
        format!("docs/five-documents.md, line {}: {what}: {}", self.line, self.cells.join(" | "))
    }
}

/// The rows of all tables, without heads and rules.
fn rows(page: &str) -> Vec<Row<'_>> {
    let lines: Vec<&str> = page.lines().collect();
    let is_rule = |line: &str| line.starts_with("|---");
    let is_row = |at: usize| {
        lines[at].starts_with('|') && !is_rule(lines[at]) && !lines.get(at + 1).is_some_and(|next| is_rule(next))
    };
    (0..lines.len())
        .filter(|&at| is_row(at))
        .map(|at| Row { line: at + 1, cells: lines[at].trim_matches('|').split(" | ").map(str::trim).collect() })
        .collect()
}

/// The Markdown links of a text: what they show, and where they go.
fn links(text: &str) -> Vec<(&str, &str)> {
    text.split('[')
        .skip(1)
        .filter_map(|rest| {
            let (shown, rest) = rest.split_once("](")?;
            Some((shown, rest.split_once(')')?.0))
        })
        .collect()
}

fn file(link: &str) -> PathBuf {
    let path = link.split('#').next().unwrap_or_default();
    Path::new(PAGE).parent().expect("a folder").join(path)
}

#[test]
fn each_row_names_a_place_and_a_test_that_are_there() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let rows = rows(&page);
    assert!(rows.len() > 100, "the five documents name more than {} features", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let [_, here, shown] = row.cells[..] else {
            wrong.push(row.complain("not three cells"));
            continue;
        };
        for (_, link) in links(here).into_iter().chain(links(shown)) {
            if !link.starts_with("https://") && !file(link).exists() {
                wrong.push(row.complain(&format!("there is no {link}")));
            }
        }
        let tests = links(shown);
        match (here.starts_with(NOT_HERE), tests.is_empty()) {
            (true, true) if here.len() > NOT_HERE.len() + 10 => {}
            (true, _) => wrong.push(row.complain("what is not here has a reason, and no test")),
            (false, true) => wrong.push(row.complain("no test shows it")),
            (false, false) => {}
        }
        for (test, link) in tests {
            let name = test.trim_matches('`');
            let source = std::fs::read_to_string(file(link)).unwrap_or_default();
            // By name, or as what a macro makes a test of: `name(` and `name,` are no mere mentions in prose.
            let is_there = source.contains(&format!("fn {name}("));
            if !is_there {
                wrong.push(row.complain(&format!("{link} has no test `{name}`")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_feature_is_named_twice_in_one_table() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    for table in page.split("\n## ").skip(1) {
        let mut seen = BTreeSet::new();
        for row in rows(table) {
            assert!(seen.insert(row.cells[0].to_owned()), "twice: {}", row.cells[0]);
        }
    }
}
