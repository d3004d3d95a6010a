//! Stores and executors with one thing broken, each caught by the rule that it breaks.

#![allow(clippy::unwrap_used)] // in what the tests share, too

/// An enum that can say of each of its variants what the documentation says.
macro_rules! told {
    ($(#[doc = $about:literal])* $name:ident $($(#[doc = $what:literal])+ $variant:ident,)*) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[doc = $what])+ $variant,)*
        }

        impl $name {
            pub(crate) fn what(self) -> String {
                match self { $(Self::$variant => concat!($($what),+).trim().to_owned(),)* }
            }
        }
    };
}

mod driver;
mod executors;
mod services;
mod stores;
mod table;

use std::path::PathBuf;
use std::time::Instant;

use idempotency_testkit::picture;

use table::MUTANTS;

const SCHEDULES: u32 = 20_000;
const SEED: u64 = 42;
/// What a person can take in.
const MOST_STEPS: usize = 12;

const HEAD: &str = "| mutant | what is broken | known from | caught by | schedules | steps | seconds |\n|---|---|---|---|---|---|---|\n";

const ABOUT: &str = "# The mutants that are caught

Stores and executors with one thing broken each, from idempotency-testkit/tests/mutants: a rule of the contract
(◆ where the library's own model shows that a key runs twice without it), or a defect that was seen in another
library, with its issue's number. Each is caught by the rule
named, after so many random schedules, and shown by one of so many steps. By `cargo xtask mutants-caught --write`,
unoptimised; the seed is fixed, so all but the seconds comes out the same.
";

/// `cargo xtask mutants-caught` shows the table that this prints, and has it written where
/// `IDEMPOTENCY_MUTANTS_TO` says, with a picture of each.
#[test]
fn every_mutant_is_caught_by_the_rule_it_breaks() {
    let folder = std::env::var_os("IDEMPOTENCY_MUTANTS_TO").map(PathBuf::from);
    let (mut table, mut wrong) = (String::from(HEAD), Vec::new());
    for mutant in MUTANTS {
        let begun = Instant::now();
        let caught = mutant.trial.run(SCHEDULES, SEED);
        let seconds = begun.elapsed().as_secs_f64();
        let (name, from, what) = (mutant.name, mutant.from, mutant.trial.what());
        let failure = match caught {
            Ok(passed) => {
                table +=
                    &format!("| {name} | {what} | {from} | **not caught** | {} | | {seconds:.2} |\n", passed.schedules);
                wrong.push(format!("{name} is not caught"));
                continue;
            }
            Err(failure) => failure,
        };
        let (rule, steps, tried) = (failure.violation.rule, failure.schedule.0.len(), failure.tried);
        let shown = if folder.is_some() { format!("[{name}]({name}.svg)") } else { name.to_owned() };
        table += &format!("| {shown} | {what} | {from} | {rule} | {tried} | {steps} | {seconds:.2} |\n");
        if rule != mutant.rule {
            wrong.push(format!("{name} is caught by \"{rule}\", not by \"{}\":\n{failure}", mutant.rule));
        }
        if steps > MOST_STEPS {
            wrong.push(format!("{name} takes {steps} steps:\n{failure}"));
        }
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(format!("{name}.svg")), picture::svg(&failure.trace)).unwrap();
        }
    }
    println!("\n{table}");
    if let Some(folder) = folder {
        std::fs::write(folder.join("README.md"), format!("{ABOUT}\n{table}")).unwrap();
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
