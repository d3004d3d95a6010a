//! How the story looks.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;

use super::Totals;
use super::check::{Tally, Wrong};
use super::round::Round;
use crate::cli::StoryOptions;

/// How an act ended.
#[derive(Debug)]
pub(crate) enum Told {
    Right(String),
    LeftOut(String),
    Wrong(Wrong),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    colours: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ink {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Page {
    pub(crate) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { colours: wanted && std::io::stdout().is_terminal() }
    }

    fn ink(self, ink: Ink, text: impl Display) -> String {
        if self.colours { format!("\x1b[{}m{text}\x1b[0m", ink as u8) } else { text.to_string() }
    }

    pub(crate) fn title(self, options: &StoryOptions, folder: &Path) {
        // The scheme alone: there may be a password in the rest.
        let store = options.store.as_deref().unwrap_or("sled:").split(':').next().unwrap_or_default();
        println!("{}", self.ink(Ink::Bold, "A payment service, its provider, and all that can go wrong between them"));
        println!(
            "{}",
            self.ink(Ink::Dim, format!("store {store}, lease {:?}, files in {}", options.lease, folder.display()))
        );
    }

    pub(crate) fn round(self, deduplicates: bool) {
        let (title, what) = if deduplicates {
            (
                "A provider that deduplicates on the downstream key",
                "after an unknown outcome, the service asks it again",
            )
        } else {
            ("A provider that does not deduplicate", "after an unknown outcome, the service looks first")
        };
        println!("\n{} {}\n", self.ink(Ink::Bold, title), self.ink(Ink::Dim, format!("({what})")));
        println!("{}", self.ink(Ink::Dim, format!("     {:<30}  {:<46}the provider's ledger", "act", "what came")));
    }

    /// Begins the line of an act, or of what holds for all, which [`Page::end`] ends.
    pub(crate) fn begin(self, number: Option<usize>, title: &str) {
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        print!("  {number:>2} {title:<30}");
        let _ = std::io::stdout().flush();
    }

    pub(crate) fn end(self, told: &Told, ledger: Tally) {
        let line = |mark: String, text: &str| println!("{mark} {text:<46}{ledger}");
        match told {
            Told::Right(what) => line(self.ink(Ink::Green, "✓"), what),
            Told::LeftOut(why) => line(self.ink(Ink::Yellow, "–"), why),
            Told::Wrong(Wrong { what, expected, came }) => {
                line(self.ink(Ink::Red, "✗"), what);
                println!("       {} {expected}", self.ink(Ink::Dim, "expected"));
                println!("       {}     {came}", self.ink(Ink::Dim, "came"));
            }
        }
    }

    pub(crate) fn closing(self, totals: &Totals) {
        let Totals { right, wrong, left_out, payments, charges, refunds, paid_back } = totals;
        let sums = format!("{payments} payments, {charges} charges; {refunds} refunds, {paid_back} paid back.");
        let left_out = if *left_out > 0 { format!(" ({left_out} left out)") } else { String::new() };
        println!();
        if totals.left_out > 0 {
            self.left_out();
        }
        if *wrong == 0 {
            println!("{} {sums}", self.ink(Ink::Green, format!("All {right} acts went right{left_out}:")));
        } else {
            println!("{} {sums}", self.ink(Ink::Red, format!("Not all went right, {wrong} went wrong{left_out}:")));
        }
    }

    fn left_out(self) {
        println!("Left out: a service killed on this store comes back without its keys, and a retry may charge again.");
        println!("          A store that lasts shows the act: --store sled:./folder");
    }

    pub(crate) fn where_to_look(self, folder: &Path) {
        println!("What the processes said is in {}", folder.display());
    }

    pub(crate) fn curl_lines(self, round: &Round) {
        let (service, provider) = (round.service.address, round.provider.address);
        let ledger = round.ledger.display();
        println!(
            "\nThe service is at http://{service}, its provider at http://{provider}, until Ctrl-C. Try:

  {pay}
  curl -i http://{service}/payments -H 'Idempotency-Key: try-1' -H 'Content-Type: application/json' \\
       -d '{{\"order_id\": \"ord_42\", \"amount\": 1999, \"currency\": \"EUR\"}}'

  {refund}
  curl -i http://{service}/orders/ord_42/refunds -H 'Content-Type: application/json' \\
       -d '{{\"refund_id\": \"r1\", \"amount\": 500}}'

  {fault}
  curl -X POST http://{provider}/next/charge-then-drop

  {look}
  curl http://{service}/orders/ord_42
  cat {ledger}
",
            pay = self.ink(Ink::Dim, "# pay; then the same again, then with another amount"),
            refund = self.ink(Ink::Dim, "# give some back; r2 is another refund"),
            fault = self.ink(
                Ink::Dim,
                "# have the next charge's answer lost (or: slow?ms=9000, fail), then pay ord_43 with try-2, twice"
            ),
            look = self.ink(Ink::Dim, "# what the service and the provider's ledger say"),
        );
    }
}

/// An amount of minor units of the story's currency.
pub(crate) fn money(minor: u64) -> String {
    format!("{}.{:02} EUR", minor / 100, minor % 100)
}
