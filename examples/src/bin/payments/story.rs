//! Starts everything, plays the acts against it over HTTP, and tells what came of them.

mod act;
mod check;
mod print;
mod round;

use std::path::Path;

use crate::cli::StoryOptions;
use idempotency_examples::Failure;
use idempotency_examples::serve::Folder;

use act::Act;
use print::{Page, Told};
use round::Round;

/// Tells the story, and goes on serving unless it is to end; whether every act went right.
pub(crate) async fn tell(options: StoryOptions) -> Result<bool, Failure> {
    let folder = Folder::make(options.folder.as_deref(), "payments")?;
    let page = Page::new();
    let (last, totals) = tokio::select! {
        told = play(&options, folder.path(), page) => told?,
        // The children end as they are dropped.
        _ = tokio::signal::ctrl_c() => return Err("interrupted before the end of the story".into()),
    };
    let all_right = totals.wrong == 0;
    page.closing(&totals);
    if !all_right {
        page.where_to_look(folder.path());
    }
    if !options.only {
        page.curl_lines(&last);
    }
    let served = if options.only { Ok(()) } else { until_interrupted(last).await };
    if !all_right {
        folder.keep();
    }
    served.map(|()| all_right)
}

/// Plays all rounds; gives the last, which still serves.
async fn play(options: &StoryOptions, folder: &Path, page: Page) -> Result<(Round, Totals), Failure> {
    let mut totals = Totals::default();
    let mut round = Round::begin(options, folder, true).await?;
    page.title(options, folder);
    play_round(&mut round, page, &mut totals).await?;
    round.end().await;

    let mut round = Round::begin(options, folder, false).await?;
    play_round(&mut round, page, &mut totals).await?;
    Ok((round, totals))
}

async fn until_interrupted(mut round: Round) -> Result<(), Failure> {
    let ended = |who: &str| format!("the {who} has ended by itself; its last words are in {}", round.log.display());
    let (service, provider) = (ended("service"), ended("provider"));
    tokio::select! {
        () = round.service.ended() => Err(service.into()),
        () = round.provider.ended() => Err(provider.into()),
        _ = tokio::signal::ctrl_c() => {
            println!();
            round.end().await;
            Ok(())
        }
    }
}

/// What the acts came to, in all rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    right: usize,
    wrong: usize,
    left_out: usize,
    /// Distinct payments that the story had made, and charges in the ledger.
    payments: usize,
    charges: usize,
    /// Distinct refunds, and those in the ledger.
    refunds: usize,
    paid_back: usize,
}

/// Plays every act against one provider.
async fn play_round(round: &mut Round, page: Page, totals: &mut Totals) -> Result<(), Failure> {
    page.round(round.deduplicates);
    let mut before = round.ledger()?;
    for (number, act) in (1..).zip(Act::ALL) {
        page.begin(Some(number), act.title());
        if let Some(why) = act.cannot_be_shown(round) {
            totals.left_out += 1;
            page.end(&Told::LeftOut(why), before);
            continue;
        }
        let played = act.play(round).await;
        // Whatever an act that went wrong left held must not trouble the next.
        round.release().await?;
        round.settle().await?;
        let after = round.ledger()?;
        let told = played.and_then(|told| act.adds().check(before, after).map(|()| told));
        match told {
            Ok(what) => {
                totals.right += 1;
                page.end(&Told::Right(what), after);
            }
            Err(wrong) => {
                totals.wrong += 1;
                page.end(&Told::Wrong(wrong), after);
            }
        }
        before = after;
    }
    totals.payments += round.payments.len();
    totals.refunds += round.refunds.len();
    totals.charges += before.charges;
    totals.paid_back += before.refunds;
    if let Err(wrong) = round.each_once() {
        totals.wrong += 1;
        page.begin(None, "each payment once, no more");
        page.end(&Told::Wrong(wrong), before);
    }
    Ok(())
}
