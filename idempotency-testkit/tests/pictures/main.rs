//! Pictures of schedules, as they are drawn.
//!
//! `IDEMPOTENCY_BLESS=1` writes what the timelines should be anew; look at them before they are kept.
#![allow(clippy::unwrap_used)]

mod drawing;
mod services;

use std::path::Path;
use std::{env, fs};

use idempotency_testkit::picture;
use idempotency_testkit::schedule::Trace;

use drawing::Drawing;

fn is_as_kept(name: &str, trace: &Trace) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name);
    let drawn = picture::text(trace);
    if env::var_os("IDEMPOTENCY_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(&file, &drawn).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == drawn, "{name} is not what it was; it is\n{drawn}\nit was\n{kept}");
}

/// Every trace there is.
fn all() -> Vec<(&'static str, Trace)> {
    vec![
        ("late effect", services::late_effect()),
        ("crash and takeover", services::crash_and_takeover()),
        ("both acquire", services::both_acquire()),
        ("several keys", services::several_keys()),
        ("dropped and freed", services::dropped_and_freed()),
        ("lost answer", services::lost_answer()),
        ("three clients", services::three_clients()),
        ("eight clients", services::eight_clients()),
        ("markup and long words", services::markup_and_long_words()),
        ("forty steps", services::forty_steps()),
        ("nothing", Trace::default()),
    ]
}

#[test]
fn a_late_effect_is_drawn_as_it_was() {
    is_as_kept("late_effect.txt", &services::late_effect());
}

#[test]
fn a_crash_and_a_takeover_are_drawn_as_they_were() {
    is_as_kept("crash_and_takeover.txt", &services::crash_and_takeover());
}

#[test]
fn two_holders_are_drawn_as_they_were() {
    is_as_kept("both_acquire.txt", &services::both_acquire());
}

#[test]
fn up_to_four_clients_fit_in_120_columns() {
    for (name, trace) in all() {
        let most = if ["eight clients", "forty steps"].contains(&name) { 240 } else { 120 };
        for line in picture::text(&trace).lines() {
            assert!(line.chars().count() <= most, "{name}: {line}");
        }
    }
}

#[test]
fn what_is_abbreviated_stands_in_full_below() {
    let text = picture::text(&services::eight_clients());
    let (above, below) = text.split_once("in full:").unwrap();
    assert!(!above.contains("acquire_lock"), "{above}");
    assert!(below.contains("acquire_lock: acquired: attempt 1, fence 1"), "{below}");
    assert!(below.contains("crash 7: its process dies"), "{below}");
}

#[test]
fn a_drawing_is_well_formed_and_points_nowhere() {
    for (name, trace) in all() {
        let svg = picture::svg(&trace);
        let drawing = Drawing::of(&svg);
        assert!(!drawing.texts.is_empty(), "{name}");
        for outside in ["href", "@import", "<script", "<image", "<foreignObject", "url(http"] {
            assert!(!svg.contains(outside), "{name}: {outside}");
        }
        let elsewhere = svg.matches("http").count() - svg.matches("\"http://www.w3.org/2000/svg\"").count();
        assert_eq!(elsewhere, svg.matches("&lt;https://").count(), "{name}");
    }
}

#[test]
fn no_words_lie_on_others_or_outside() {
    for (name, trace) in all() {
        let svg = picture::svg(&trace);
        let drawing = Drawing::of(&svg);
        for (at, one) in drawing.texts.iter().enumerate() {
            assert!(one.is_within(drawing.width, drawing.height), "{name}: {one:?}");
            for other in &drawing.texts[at + 1..] {
                assert!(!one.is_on(other), "{name}: {one:?} lies on {other:?}");
            }
        }
    }
}

#[test]
fn the_broken_rule_and_its_step_are_seen() {
    for (name, trace) in all().into_iter().filter(|(_, trace)| trace.broken.is_some()) {
        let broken = trace.broken.clone().unwrap();
        let svg = picture::svg(&trace);
        let (drawing, text) = (Drawing::of(&svg), picture::text(&trace));
        let step = trace.steps.len();
        assert!(drawing.says(&format!("Broken at step {step}: {}", broken.rule)), "{name}");
        assert!(drawing.says(&format!("This breaks the rule “{}”", broken.rule)), "{name}");
        assert!(text.contains(&format!("✗ step {step} breaks the rule \"{}\"", broken.rule)), "{name}");
        assert!(drawing.says(broken.rule.promise()), "{name}");
        assert!(text.contains(broken.rule.promise()), "{name}");
        // Wrapped, but all there.
        let words = broken.what.split_whitespace().filter(|_| !broken.what.starts_with("broken: "));
        for word in words.filter(|word| word.len() < 40 && !word.contains(char::is_control)) {
            assert!(drawing.all.contains(word) && text.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn what_the_contract_answers_is_shown() {
    let trace = services::both_acquire();
    let svg = picture::svg(&trace);
    assert!(Drawing::of(&svg).says("contract"));
    assert!(Drawing::of(&svg).says("in progress: attempt 1, 29.998s left"));
    assert!(picture::text(&trace).contains("contract  in progress: attempt 1, 29.998s left"));
}

#[test]
fn every_client_request_call_and_key_has_its_words() {
    for (name, trace) in all() {
        let svg = picture::svg(&trace);
        let drawing = Drawing::of(&svg);
        for step in &trace.steps {
            if let Some(client) = step.event.client() {
                assert!(drawing.says(&format!("client {client}")), "{name}");
                assert!(drawing.has(&trace.requests[usize::from(client) - 1]), "{name}");
            }
            if let Some(moved) = &step.moved {
                assert!(drawing.has(&moved.what), "{name}: {}", moved.what);
                assert!(drawing.has(moved.key.as_str()), "{name}: {}", moved.key);
            }
        }
    }
}

#[test]
fn the_effect_that_must_not_be_is_red() {
    let svg = picture::svg(&services::late_effect());
    let star = |fill: &str| svg.matches(&format!("fill=\"{fill}\" stroke=\"#78350f\"")).count();
    // One of each is in the legend.
    assert_eq!([star("#f59e0b"), star("#dc2626")], [2, 2]);
}

#[test]
fn whoever_was_given_the_key_wrongly_is_seen_beside_its_holder() {
    let trace = services::both_acquire();
    let text = picture::text(&trace);
    let last = text.lines().find(|line| line.starts_with("✗  7")).unwrap();
    assert!(last.contains('┃') && last.contains('╟'), "{last}");
    let bars = picture::svg(&trace).matches("rx=\"2\" fill=\"#dc2626\"").count();
    assert_eq!(bars, 2, "the bar, and its like in the legend");
}

#[test]
fn whoever_thinks_that_it_still_holds_the_key_is_seen_beside_its_holder() {
    let text = picture::text(&services::three_clients());
    let taken = text.lines().find(|line| line.starts_with("   8")).unwrap();
    assert!(taken.contains('╎') && taken.contains('┠'), "{taken}");
}

#[test]
fn a_trace_is_always_drawn_the_same() {
    for (name, trace) in all() {
        assert_eq!(picture::svg(&trace), picture::svg(&trace.clone()), "{name}");
        assert_eq!(picture::text(&trace), picture::text(&trace.clone()), "{name}");
    }
}

#[test]
fn a_drawing_is_written_into_the_target_folder() {
    for (name, trace) in all() {
        let file = picture::write(&trace, &format!("pictures::{name}")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), picture::svg(&trace));
        let called = format!("pictures-{}.svg", name.replace(' ', "-"));
        assert!(file.ends_with(Path::new("idempotency").join(called)), "{file:?}");
        let target = file.ancestors().nth(2).unwrap();
        let told = env::var_os("CARGO_TARGET_DIR").is_some_and(|told| Path::new(&told) == target);
        assert!(told || env::current_exe().unwrap().starts_with(target), "{file:?}");
    }
}
