//! One round of the story: a provider, a service, and what has been asked of them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::check::{Tally, Wrong};
use crate::cli::StoryOptions;
use idempotency_examples::Failure;
use idempotency_examples::client::{self, NoReply, Reply};
use idempotency_examples::journal;
use idempotency_examples::process::Process;
use idempotency_examples::provider::ledger::{Entry, Kind};
use idempotency_examples::provider::server::Seen;
use idempotency_examples::serve::new_id;

/// How long the story waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) provider: Process,
    pub(crate) service: Process,
    pub(crate) deduplicates: bool,
    pub(crate) lease: Duration,
    /// Whether the store forgets when the service's process ends.
    pub(crate) forgets: bool,
    /// What the story has had paid: order and amount.
    pub(crate) payments: Vec<(String, u64)>,
    /// What it has had refunded: order and amount.
    pub(crate) refunds: Vec<(String, u64)>,
    /// The first payment, to which later acts come back.
    pub(crate) first: Option<Paid>,
    pub(crate) ledger: PathBuf,
    /// How to start the service again.
    start: Vec<OsString>,
    store: Option<String>,
    pub(crate) log: PathBuf,
    run: String,
    ids: u32,
}

/// A payment that was made.
#[derive(Clone, Debug)]
pub(crate) struct Paid {
    pub(crate) request: Payment,
    pub(crate) answer: Value,
}

/// A request for a payment.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) key: String,
    pub(crate) order: String,
    pub(crate) amount: u64,
}

impl Round {
    pub(crate) async fn begin(options: &StoryOptions, folder: &Path, deduplicates: bool) -> Result<Self, Failure> {
        let run = new_id();
        let ledger = folder.join(format!("ledger-{run}.jsonl"));
        let log = folder.join(format!("log-{run}.txt"));
        let mode = (!deduplicates).then(|| OsString::from("--no-dedup"));

        let mut args: Vec<OsString> = vec!["provider".into(), "--ledger".into(), ledger.clone().into()];
        args.extend(mode.clone());
        let provider = Process::start(args, None, &log).await?;

        let mut start: Vec<OsString> = vec!["service".into(), "--folder".into(), folder.into()];
        start.extend(["--provider".into(), provider.address.to_string().into()]);
        start.extend(["--lease".into(), format!("{}us", options.lease.as_micros()).into()]);
        start.extend(mode);
        let port = ["--port".into(), options.port.to_string().into()];
        let service = Process::start(start.iter().cloned().chain(port), options.store.as_deref(), &log).await?;
        // Should the service be started again, then where it was.
        start.extend(["--port".into(), service.address.port().to_string().into()]);

        let health: Value = client::get(service.address, "/health").send().await?.json()?;
        Ok(Self {
            provider,
            service,
            deduplicates,
            lease: options.lease,
            forgets: health["keys_outlive_the_service"] != true,
            payments: Vec::new(),
            refunds: Vec::new(),
            first: None,
            ledger,
            start,
            store: options.store.clone(),
            log,
            run,
            ids: 0,
        })
    }

    pub(crate) async fn end(self) {
        self.service.stop().await;
        self.provider.stop().await;
    }

    /// A new payment, with a key and an order that no run has had before.
    pub(crate) fn new_payment(&mut self, amount: u64) -> Payment {
        self.ids += 1;
        let (run, id) = (&self.run, self.ids);
        let payment = Payment { key: format!("key-{run}-{id}"), order: format!("ord-{run}-{id}"), amount };
        self.payments.push((payment.order.clone(), amount));
        payment
    }

    /// A new refund of this order; gives its id.
    pub(crate) fn new_refund(&mut self, order: &str, amount: u64) -> String {
        self.ids += 1;
        self.refunds.push((order.into(), amount));
        format!("ref-{}-{}", self.run, self.ids)
    }

    pub(crate) fn first(&self) -> Result<Paid, Wrong> {
        self.first.clone().ok_or_else(|| Wrong::new("the first payment", "that it was made", "that it was not"))
    }

    /// Sends a payment; a future of its own, which outlives changes of the round.
    pub(crate) fn pay(&self, payment: &Payment) -> impl Future<Output = Result<Reply, NoReply>> + Send + 'static {
        let Payment { key, order, amount } = payment;
        let body = json!({ "order_id": order, "amount": amount, "currency": "EUR" });
        client::post(self.service.address, "/payments", &body).header("idempotency-key", key).send()
    }

    pub(crate) fn refund(
        &self,
        order: &str,
        refund: &str,
        amount: u64,
    ) -> impl Future<Output = Result<Reply, NoReply>> + Send + 'static {
        let body = json!({ "refund_id": refund, "amount": amount });
        client::post(self.service.address, &format!("/orders/{order}/refunds"), &body).send()
    }

    /// Sends a payment as a good client does: again after each 409, when it says. Also gives how
    /// often that was.
    pub(crate) async fn pay_patiently(&self, payment: &Payment) -> Result<(Reply, u32), Wrong> {
        let begun = Instant::now();
        for told_to_wait in 0.. {
            let reply = self.pay(payment).await?;
            let after = reply.header("retry-after").and_then(|after| after.parse().ok());
            match after {
                Some(after) if reply.status == 409 && begun.elapsed() < PATIENCE => {
                    sleep(Duration::from_secs(after)).await
                }
                _ => return Ok((reply, told_to_wait)),
            }
        }
        Err(Wrong::new("a payment", "an answer", "none"))
    }

    /// Has the provider's next charge or refund go wrong.
    pub(crate) async fn next(&self, fault: &str) -> Result<(), Wrong> {
        client::post(self.provider.address, &format!("/next/{fault}"), &json!(null)).send().await?;
        Ok(())
    }

    /// Has the provider go on with what it holds.
    pub(crate) async fn release(&self) -> Result<(), Failure> {
        client::post(self.provider.address, "/release", &json!(null)).send().await?;
        Ok(())
    }

    pub(crate) async fn seen(&self) -> Result<Seen, Wrong> {
        let reply = client::get(self.provider.address, "/seen").send().await?;
        reply.json().map_err(|error| Wrong::new("the provider", "what it has seen", error))
    }

    /// Waits until the provider has seen this.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(Seen) -> bool) -> Result<Seen, Wrong> {
        let begun = Instant::now();
        loop {
            let seen = self.seen().await?;
            if enough(seen) {
                return Ok(seen);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Wrong::new("the provider", what, format_args!("{seen:?}")));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the provider has nothing left to do.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        let settled = self.until("that it is done", |seen| seen.in_flight == 0).await;
        settled.map(drop).map_err(|wrong| format!("the provider is not done: {}", wrong.came).into())
    }

    /// Kills the service with SIGKILL.
    pub(crate) async fn kill_service(&mut self) -> Result<(), Wrong> {
        Ok(self.service.kill().await?)
    }

    /// Starts the service again, on the same store and port.
    pub(crate) async fn restart_service(&mut self) -> Result<(), Wrong> {
        self.service = Process::start(self.start.iter().cloned(), self.store.as_deref(), &self.log).await?;
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>, journal::JournalError> {
        journal::read(&self.ledger)
    }

    /// What the ledger says now, read from the provider's own file.
    pub(crate) fn ledger(&self) -> Result<Tally, Failure> {
        let entries = self.entries()?;
        let charges = entries.iter().filter(|entry| entry.instruction.kind == Kind::Charge).count();
        Ok(Tally { charges, refunds: entries.len() - charges })
    }

    /// That the ledger has each payment and refund of the story once, and nothing else.
    pub(crate) fn each_once(&self) -> Result<(), Wrong> {
        let entries = self.entries().map_err(|error| error.to_string())?;
        let mut open: HashMap<(Kind, &str, u64), i64> = HashMap::new();
        for (order, amount) in &self.payments {
            *open.entry((Kind::Charge, order, *amount)).or_default() += 1;
        }
        for (order, amount) in &self.refunds {
            *open.entry((Kind::Refund, order, *amount)).or_default() += 1;
        }
        for Entry { instruction: made, .. } in &entries {
            *open.entry((made.kind, &made.order, made.amount)).or_default() -= 1;
        }
        match open.into_iter().find(|(_, left)| *left != 0) {
            None => Ok(()),
            Some(((kind, order, amount), left)) => {
                let times = |left: i64| if left > 0 { "fewer times" } else { "more often" };
                let came = format!("{kind:?} of {amount} is there {} than asked for", times(left));
                Err(Wrong::new(format!("the ledger on {order}"), "each payment and refund once", came))
            }
        }
    }
}
