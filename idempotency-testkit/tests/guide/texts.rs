//! The guides' code is that of this folder.

use std::fs;
use std::path::Path;

/// The pieces of code in a guide that name a file, with that file's name: a line `<!-- file: NAME -->`
/// stands before each.
fn pieces(guide: &str) -> Vec<(String, String)> {
    let mut pieces = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let Some(file) = line.strip_prefix("<!-- file: ").and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        assert!(lines.next().is_some_and(|line| line.starts_with("```rust")), "no code follows {line}");
        let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        pieces.push((file.to_owned(), code.join("\n")));
    }
    pieces
}

fn hold(guide: &str, least: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("../docs/guide").join(guide)).unwrap();
    let pieces = pieces(&text);
    assert!(pieces.len() >= least, "{guide} has {} pieces of code that name a file", pieces.len());
    for (file, code) in pieces {
        let kept = fs::read_to_string(root.join("tests/guide").join(&file)).unwrap();
        // What a guide leaves out, it marks by a line of its own.
        for part in code.split("\n// …\n") {
            assert!(kept.contains(part.trim()), "{guide}: this is not in {file}:\n{part}");
        }
    }
}

#[test]
fn property_test_your_service() {
    hold("property-test-your-service.md", 2);
}

#[test]
fn write_your_own_store() {
    hold("write-your-own-store.md", 2);
    let store = include_str!("own_store.rs");
    assert!(store.lines().count() < 80, "a guide that says how little it takes");
}
