//! The acts: each asks something of the service, and checks what it claims.

use std::time::Instant;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::check::{Comes, Tally, Wrong, expect, expect_answer, expect_problem};
use super::print::money;
use super::round::{Paid, Payment, Round};
use idempotency_examples::client;

/// How many send the same at once.
const CROWD: usize = 200;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    FirstRequest,
    Retry,
    AtOnce,
    AnotherAmount,
    AnswerLost,
    Killed,
    RefundTwice,
    TwoRefunds,
    CallbackThrice,
}

impl Act {
    pub(crate) const ALL: [Self; 9] = [
        Self::FirstRequest,
        Self::Retry,
        Self::AtOnce,
        Self::AnotherAmount,
        Self::AnswerLost,
        Self::Killed,
        Self::RefundTwice,
        Self::TwoRefunds,
        Self::CallbackThrice,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::FirstRequest => "first request",
            Self::Retry => "retry",
            Self::AtOnce => "200 at once with one key",
            Self::AnotherAmount => "same key, another amount",
            Self::AnswerLost => "charge whose answer was lost",
            Self::Killed => "service killed in mid-charge",
            Self::RefundTwice => "refund clicked twice",
            Self::TwoRefunds => "two refunds of one order",
            Self::CallbackThrice => "callback sent three times",
        }
    }

    /// What the act adds to the ledger.
    pub(crate) const fn adds(self) -> Tally {
        let (charges, refunds) = match self {
            Self::FirstRequest | Self::AtOnce | Self::AnswerLost => (1, 0),
            Self::Retry | Self::AnotherAmount | Self::CallbackThrice => (0, 0),
            Self::Killed => (2, 0),
            Self::RefundTwice => (0, 1),
            Self::TwoRefunds => (0, 2),
        };
        Tally { charges, refunds }
    }

    /// Why the act is left out, if it must be.
    pub(crate) fn cannot_be_shown(self, round: &Round) -> Option<String> {
        let forgets = matches!(self, Self::Killed) && round.forgets;
        forgets.then(|| "left out: this store forgets with its process".into())
    }

    /// Plays the act, and tells in a few words what came.
    pub(crate) async fn play(self, round: &mut Round) -> Result<String, Wrong> {
        match self {
            Self::FirstRequest => first_request(round).await,
            Self::Retry => retry(round).await,
            Self::AtOnce => at_once(round).await,
            Self::AnotherAmount => another_amount(round).await,
            Self::AnswerLost => answer_lost(round).await,
            Self::Killed => killed(round).await,
            Self::RefundTwice => refund_twice(round).await,
            Self::TwoRefunds => two_refunds(round).await,
            Self::CallbackThrice => callback_thrice(round).await,
        }
    }
}

async fn first_request(round: &mut Round) -> Result<String, Wrong> {
    let request = round.new_payment(1999);
    let reply = round.pay(&request).await?;
    let answer = expect_answer("the request", StatusCode::CREATED, Comes::Fresh, &reply)?;
    expect("its answer", json!(["paid", 1999]), json!([answer["status"], answer["amount"]]))?;
    let told = format!("201, {} paid", money(request.amount));
    round.first = Some(Paid { request, answer });
    Ok(told)
}

async fn retry(round: &mut Round) -> Result<String, Wrong> {
    let first = round.first()?;
    let reply = round.pay(&first.request).await?;
    let answer = expect_answer("the retry", StatusCode::CREATED, Comes::Replayed, &reply)?;
    expect("its answer", first.answer, answer)?;
    Ok("201, the same answer, replayed".into())
}

async fn at_once(round: &mut Round) -> Result<String, Wrong> {
    let payment = round.new_payment(4200);
    // Held by the provider, so that all others come while the one is being charged.
    round.next("hold").await?;
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        crowd.spawn(round.pay(&payment));
    }
    for _ in 1..CROWD {
        let reply = joined(crowd.join_next().await)??;
        expect_problem("all but one", StatusCode::CONFLICT, "in-progress", &reply)?;
        expect("a header Retry-After", true, reply.header("retry-after").is_some())?;
    }
    round.until("one charge held", |seen| seen.held == 1).await?;
    round.release().await.map_err(|error| error.to_string())?;
    let reply = joined(crowd.join_next().await)??;
    let answer = expect_answer("the one", StatusCode::CREATED, Comes::Fresh, &reply)?;
    for _ in 1..CROWD {
        crowd.spawn(round.pay(&payment));
    }
    while let Some(reply) = crowd.join_next().await {
        let again = expect_answer("another, later", StatusCode::CREATED, Comes::Replayed, &joined(Some(reply))??)?;
        expect("its answer", &answer, &again)?;
    }
    Ok(format!("1 paid, {0} told 409; later {0} replayed", CROWD - 1))
}

async fn another_amount(round: &mut Round) -> Result<String, Wrong> {
    let first = round.first()?;
    let reply = round.pay(&Payment { amount: first.request.amount + 1, ..first.request }).await?;
    expect_problem("the request", StatusCode::UNPROCESSABLE_ENTITY, "key-reused", &reply)?;
    let shown = String::from_utf8_lossy(&reply.body).contains(text(&first.answer, "transaction_id")?);
    expect("whether it shows the other's transaction", false, shown)?;
    Ok("422, nothing of the first is shown".into())
}

async fn answer_lost(round: &mut Round) -> Result<String, Wrong> {
    let payment = round.new_payment(2500);
    let before = round.seen().await?;
    round.next("charge-then-drop").await?;
    let reply = round.pay(&payment).await?;
    expect_problem("the first request", StatusCode::BAD_GATEWAY, "outcome-unknown", &reply)?;
    let reply = round.pay(&payment).await?;
    let answer = expect_answer("the retry", StatusCode::CREATED, Comes::Fresh, &reply)?;
    let reply = round.pay(&payment).await?;
    let again = expect_answer("the next retry", StatusCode::CREATED, Comes::Replayed, &reply)?;
    expect("its answer", answer, again)?;
    let deduplicated = round.seen().await?.deduplicated - before.deduplicated;
    expect("charges that the provider deduplicated", usize::from(round.deduplicates), deduplicated)?;
    Ok(if round.deduplicates { "502; retry: 201, deduplicated" } else { "502; retry: 201, found by looking" }.into())
}

/// Two charges are under way when the service is killed: one has been made and not answered, one is
/// made only after the retry has been answered.
async fn killed(round: &mut Round) -> Result<String, Wrong> {
    let (made, late) = (round.new_payment(3100), round.new_payment(3200));
    let (before, begun) = (round.seen().await?, Instant::now());
    round.next("charge-then-hold").await?;
    let first = tokio::spawn(round.pay(&made));
    round.until("one charge held", |seen| seen.held == 1).await?;
    round.next("hold").await?;
    let second = tokio::spawn(round.pay(&late));
    round.until("two charges held", |seen| seen.held == 2).await?;

    round.kill_service().await?;
    for cut_off in [first.await, second.await] {
        if let Ok(Ok(reply)) = cut_off {
            return Err(Wrong::new("a client of the killed service", "no answer", reply.status));
        }
    }
    round.restart_service().await?;
    // On a machine so slow that the lease may be over by now, nothing is claimed about it.
    let still_locked = begun.elapsed() < round.lease * 2 / 3;

    let (one, other) = tokio::join!(round.pay_patiently(&made), round.pay_patiently(&late));
    for (which, retried) in [("the charge that was made", one), ("the charge on its way", other)] {
        let (reply, told_to_wait) = retried?;
        expect_answer(which, StatusCode::CREATED, Comes::Fresh, &reply)?;
        if still_locked {
            expect("its retry was told 409 while the lease held", true, told_to_wait > 0)?;
        }
    }
    // Only now does the late charge of the dead service go on.
    round.release().await.map_err(|error| error.to_string())?;
    let after = round.until("that it is done", |seen| seen.in_flight == 0).await?;
    let (deduplicated, barred) = (after.deduplicated - before.deduplicated, after.barred - before.barred);
    if round.deduplicates {
        expect("charges that the provider deduplicated", 2, deduplicated)?;
        Ok("retried: 2 × 201; 2 deduplicated".into())
    } else {
        expect("late charges that the provider barred", 1, barred)?;
        Ok("retried: 2 × 201; 1 found, 1 late one barred".into())
    }
}

async fn refund_twice(round: &mut Round) -> Result<String, Wrong> {
    let Paid { request: Payment { order, .. }, .. } = round.first()?;
    let refund = round.new_refund(&order, 500);
    round.next("hold").await?;
    let click = tokio::spawn(round.refund(&order, &refund, 500));
    round.until("one refund held", |seen| seen.held == 1).await?;
    let reply = round.refund(&order, &refund, 500).await?;
    expect_problem("the second click", StatusCode::CONFLICT, "in-progress", &reply)?;
    round.release().await.map_err(|error| error.to_string())?;
    let reply = joined(Some(click.await))??;
    let answer = expect_answer("the first click", StatusCode::CREATED, Comes::Fresh, &reply)?;
    expect("its answer", json!(["refunded", 500]), json!([answer["status"], answer["amount"]]))?;
    let reply = round.refund(&order, &refund, 500).await?;
    let again = expect_answer("the second click, later", StatusCode::CREATED, Comes::Replayed, &reply)?;
    expect("its answer", answer, again)?;
    Ok(format!("201, {} back; 409, later replayed", money(500)))
}

async fn two_refunds(round: &mut Round) -> Result<String, Wrong> {
    let Paid { request: Payment { order, .. }, .. } = round.first()?;
    let mut transactions = Vec::new();
    for amount in [300, 450] {
        let refund = round.new_refund(&order, amount);
        let reply = round.refund(&order, &refund, amount).await?;
        let answer = expect_answer("a refund", StatusCode::CREATED, Comes::Fresh, &reply)?;
        expect("its amount", &json!(amount), &answer["amount"])?;
        transactions.push(answer["transaction_id"].clone());
    }
    expect("whether the two are one", false, transactions[0] == transactions[1])?;
    Ok(format!("201, {} back; 201, {} back", money(300), money(450)))
}

async fn callback_thrice(round: &mut Round) -> Result<String, Wrong> {
    let Paid { request: Payment { order, .. }, answer } = round.first()?;
    let callback = json!({ "transaction_id": text(&answer, "transaction_id")? });
    let send = || client::post(round.service.address, "/callbacks/acme", &callback).send();
    let confirmed = expect_answer("the first", StatusCode::OK, Comes::Fresh, &send().await?)?;
    for which in ["the second", "the third"] {
        let again = expect_answer(which, StatusCode::OK, Comes::Replayed, &send().await?)?;
        expect("its answer", &confirmed, &again)?;
    }
    let found = client::get(round.service.address, &format!("/orders/{order}")).send().await?;
    let found = expect_answer("the order", StatusCode::OK, Comes::Fresh, &found)?;
    expect("how often the order was confirmed", &json!(1), &found["confirmations"])?;
    Ok("200, confirmed once; 2 replayed".into())
}

fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, Wrong> {
    answer[field].as_str().ok_or_else(|| Wrong::new("an answer", format_args!("a field {field}"), answer))
}

fn joined<T>(task: Option<Result<T, tokio::task::JoinError>>) -> Result<T, Wrong> {
    match task {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) => Err(error.to_string().into()),
        None => Err("a request is missing".to_owned().into()),
    }
}
