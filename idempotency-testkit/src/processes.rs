//! Tests in which other processes take part: the test program runs itself again, in a role.
//!
//! What must survive a SIGKILL is best shown by killing. The test is a program of its own
//! (`harness = false` in `Cargo.toml`), whose `main` names its tests and the roles that it plays when it
//! is run again:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use idempotency_testkit::processes::{Program, role};
//!
//! fn main() -> ExitCode {
//!     let mut program = Program::default();
//!     program.role("service", |arguments| println!("I serve {arguments:?}"));
//!     program.test("a_killed_service_charges_once", || {
//!         let mut service = role("service").arg("--port=0").spawn().expect("it starts");
//!         service.kill().expect("it is there");
//!     });
//!     program.run()
//! }
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::time::Instant;

const ROLE: &str = "--role";
/// libtest's options that take a value of their own.
const WITH_VALUE: [&str; 7] =
    ["--test-threads", "--logfile", "--color", "--format", "--shuffle-seed", "--report-time", "-Z"];

/// Another process's part, with what it is to do.
pub type Role = fn(&[String]);

/// The tests and roles of this program.
#[derive(Debug, Default)]
#[must_use = "nothing runs until `run` is called"]
pub struct Program {
    tests: Vec<(String, fn())>,
    roles: Vec<(&'static str, Role)>,
}

/// This program again, in a role. Its arguments follow.
///
/// # Panics
/// Where the program's own file cannot be told.
#[must_use]
pub fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program's own file"));
    command.args([ROLE, name]);
    command
}

/// What was asked for on the command line.
#[derive(Debug, Default)]
struct Asked {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    only_ignored: bool,
}

impl Asked {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut asked = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => asked.exact = true,
                "--list" => asked.list = true,
                "--ignored" => asked.only_ignored = true,
                "--skip" => asked.skipped.extend(arguments.next()),
                other if WITH_VALUE.contains(&other) => drop(arguments.next()),
                other if other.starts_with('-') => {}
                _ => asked.filters.push(argument),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        !self.only_ignored
            && (self.filters.is_empty() || self.filters.iter().any(fits))
            && !self.skipped.iter().any(fits)
    }
}

impl Program {
    /// Adds a test. It fails by a panic.
    pub fn test(&mut self, name: impl Into<String>, test: fn()) {
        self.tests.push((name.into(), test));
    }

    /// Adds a role, which is given the arguments that follow it.
    pub fn role(&mut self, name: &'static str, role: Role) {
        self.roles.push((name, role));
    }

    /// Plays the role that this process was started in; or else runs the tests that the command line
    /// asks for as `cargo test` does, one after another.
    ///
    /// # Panics
    /// For a role that was not added.
    pub fn run(self) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if let [flag, name, rest @ ..] = &arguments[..]
            && flag == ROLE
        {
            let (_, role) = self.roles.iter().find(|(role, _)| role == name).expect("a role of this program");
            role(rest);
            return ExitCode::SUCCESS;
        }
        let asked = Asked::read(arguments.into_iter());
        let (wanted, others): (Vec<_>, Vec<_>) = self.tests.iter().partition(|(name, _)| asked.wants(name));
        if asked.list {
            wanted.iter().for_each(|(name, _)| println!("{name}: test"));
            return ExitCode::SUCCESS;
        }
        println!("\nrunning {} tests", wanted.len());
        let begun = Instant::now();
        let mut failed = Vec::new();
        for (name, test) in &wanted {
            // Any message of the panic is already on stderr.
            let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
            println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            failed.extend((!passed).then_some(name));
        }
        if !failed.is_empty() {
            println!("\nfailures:");
            failed.iter().for_each(|name| println!("    {name}"));
        }
        println!(
            "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
            if failed.is_empty() { "ok" } else { "FAILED" },
            wanted.len() - failed.len(),
            failed.len(),
            others.len(),
            begun.elapsed().as_secs_f64()
        );
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
    }
}

/// Random numbers from a seed (SplitMix64), the same in every process that has it.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Those of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// One of several; `None` of none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.below(from.len() as u64) as usize;
        from.get(at)
    }
}
