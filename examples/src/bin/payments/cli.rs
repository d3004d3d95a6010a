//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use idempotency_examples::app::of;
use idempotency_examples::serve::End;
use lexopt::{Arg, Parser, ValueExt};

pub(crate) const USAGE: &str = "\
payments            starts the service and its provider, tells the story, then serves until Ctrl-C
payments service    the service alone; needs --provider
payments provider   the provider alone; needs --ledger

  --story             end after the story; exit status 0 only if every act went right
  --store URL         where keys are kept: sled:./folder (default, in --folder), redis://host,
                      postgres://host/database or memory: (or the environment variable IDEMPOTENCY_STORE)
  --folder DIR        where all else is kept (default: a new one, removed in the end)
  --port N            the port of the service, or of the provider alone (default: any free one)
  --lease TIME        how long a key stays locked when its process dies (3s in the story, else 30s)

  --provider ADDR     service: its provider, as 127.0.0.1:8081
  --ledger FILE       provider: its ledger
  --no-dedup          the provider does not deduplicate on the downstream key; the service looks
                      before it charges again";

#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Story(StoryOptions),
    Service(ServiceOptions),
    Provider(ProviderOptions),
}

#[derive(Debug)]
pub(crate) struct StoryOptions {
    /// Whether to end after the story.
    pub(crate) only: bool,
    pub(crate) store: Option<String>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) port: u16,
    pub(crate) lease: Duration,
}

#[derive(Debug)]
pub(crate) struct ServiceOptions {
    pub(crate) store: Option<String>,
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) lease: Duration,
    pub(crate) provider: SocketAddr,
    pub(crate) deduplicates: bool,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) struct ProviderOptions {
    pub(crate) ledger: PathBuf,
    pub(crate) port: u16,
    pub(crate) deduplicates: bool,
    pub(crate) end: End,
}

pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_env();
    let (mut mode, mut only, mut deduplicates, mut end) = (None, false, true, End::Interrupt);
    let (mut folder, mut port, mut lease, mut provider, mut ledger) = (None, 0, None, None, None);
    let mut store = std::env::var("IDEMPOTENCY_STORE").ok().filter(|store| !store.is_empty());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Long("story") => only = true,
            Arg::Long("store") => store = Some(parser.value()?.string()?),
            Arg::Long("folder") => folder = Some(PathBuf::from(parser.value()?)),
            Arg::Long("port") => port = parser.value()?.parse().map_err(of("--port"))?,
            Arg::Long("lease") => {
                lease = Some(parser.value()?.parse_with(humantime::parse_duration).map_err(of("--lease"))?)
            }
            Arg::Long("provider") => provider = Some(parser.value()?.parse().map_err(of("--provider"))?),
            Arg::Long("ledger") => ledger = Some(PathBuf::from(parser.value()?)),
            Arg::Long("no-dedup") => deduplicates = false,
            Arg::Long("child") => end = End::Parent,
            Arg::Value(value) if mode.is_none() => mode = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    match mode.as_deref() {
        None => {
            let lease = lease.unwrap_or(Duration::from_secs(3));
            Ok(Command::Story(StoryOptions { only, store, folder, port, lease }))
        }
        Some("service") => {
            let provider = provider.ok_or("`payments service` needs --provider ADDR")?;
            let folder = folder.unwrap_or_else(|| PathBuf::from("payments-data"));
            let lease = lease.unwrap_or(Duration::from_secs(30));
            Ok(Command::Service(ServiceOptions { store, folder, port, lease, provider, deduplicates, end }))
        }
        Some("provider") => {
            let ledger = ledger.ok_or("`payments provider` needs --ledger FILE")?;
            Ok(Command::Provider(ProviderOptions { ledger, port, deduplicates, end }))
        }
        Some(other) => Err(format!("there is no `payments {other}`").into()),
    }
}
