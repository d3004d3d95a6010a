//! Stores and executors with one thing broken, each caught by the rule that it breaks.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod driver;
mod executors;
mod services;
mod stores;
mod table;

use std::time::Instant;

use table::MUTANTS;

const SCHEDULES: u32 = 20_000;
const SEED: u64 = 42;

/// `cargo xtask mutants-caught` shows what this prints.
#[test]
fn every_mutant_is_caught_by_the_rule_it_breaks() {
    let mut wrong = Vec::new();
    println!("| mutant | known from | caught by | schedules | steps | seconds |");
    println!("|---|---|---|---|---|---|");
    for mutant in MUTANTS {
        let begun = Instant::now();
        let caught = mutant.trial.run(SCHEDULES, SEED);
        let seconds = begun.elapsed().as_secs_f64();
        let (name, from) = (mutant.name, mutant.from);
        match caught {
            Ok(passed) => {
                println!("| {name} | {from} | **not caught** | {} | | {seconds:.2} |", passed.schedules);
                wrong.push(format!("{name} is not caught"));
            }
            Err(failure) => {
                let (rule, steps) = (failure.violation.rule, failure.schedule.0.len());
                println!("| {name} | {from} | {rule} | {} | {steps} | {seconds:.2} |", failure.tried);
                if rule != mutant.rule {
                    wrong.push(format!("{name} is caught by \"{rule}\", not by \"{}\":\n{failure}", mutant.rule));
                }
                if steps > 12 {
                    wrong.push(format!("{name} takes {steps} steps:\n{failure}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_is_right_is_not_caught() {
    for mutant in MUTANTS {
        if let Err(failure) = mutant.trial.mended().run(400, SEED) {
            panic!("the trial of {} catches what is right:\n{failure}", mutant.name);
        }
    }
}
