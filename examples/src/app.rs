//! The command line of a service, and its life: its provider started, listening, told where, and ended.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use idempotency::{Idempotency, RequireError, Requirements};
use lexopt::{Arg, Parser, ValueExt};

use crate::process::Process;
use crate::serve::{self, End, Folder};
use crate::{Failure, provider};

/// How long a key stays locked when its process dies, unless `--lease` says otherwise.
const LEASE: Duration = Duration::from_secs(30);

/// What a service says of itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The program's name.
    pub name: &'static str,
    /// What it is, in a line.
    pub does: &'static str,
    /// Options of its own, each with a value: name, and what it says.
    pub options: &'static [(&'static str, &'static str)],
    /// Whether it needs the payment provider.
    pub provider: bool,
    /// What to try, once it listens there.
    pub to_try: fn(SocketAddr) -> String,
}

/// What a service is started with.
#[derive(Clone)]
pub struct Setting {
    /// The URL of the store of keys. It may hold a password, and is not shown.
    pub store: String,
    /// How long a key stays locked when its process dies.
    pub lease: Duration,
    /// Where all else is kept.
    pub folder: PathBuf,
    /// The payment provider, if it needs one.
    pub provider: Option<SocketAddr>,
    /// Whether that provider deduplicates on the downstream key.
    pub provider_deduplicates: bool,
    options: HashMap<String, String>,
}

impl Setting {
    /// The value of an option of its own, if it was given.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("folder", &self.folder).field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// A service that has been started.
#[derive(Debug)]
pub struct Service {
    /// What it answers.
    pub router: Router,
    /// The handle whose runs are waited for in the end.
    pub idempotency: Idempotency,
}

/// What the store lacks of what a service that moves money needs, if it lacks something: its keys must survive the
/// process. It is in the log, and the service goes on: whoever tries it on `memory:` is told, and not sent away.
///
/// # Errors
///
/// If the store cannot be asked.
pub async fn weakness(idempotency: &Idempotency) -> Result<Option<String>, RequireError> {
    match idempotency.require(Requirements::new().survives_process_crash()).await {
        Ok(()) => Ok(None),
        Err(RequireError::TooWeak(weakness)) => {
            tracing::warn!("{weakness}");
            Ok(Some(weakness.to_string()))
        }
        Err(other) => Err(other),
    }
}

/// Runs a service as its command line says, until Ctrl-C.
///
/// Without `--provider`, one is started as a process of its own: this same program.
pub async fn run<F>(about: About, start: impl FnOnce(Setting) -> F) -> ExitCode
where
    F: Future<Output = Result<Service, Failure>>,
{
    let line = match Line::parse(about) {
        Ok(line) => line,
        Err(error) => {
            eprintln!("{}: {error}\n\n{}", about.name, about.usage());
            return ExitCode::from(2);
        }
    };
    let ended = match &line.mode {
        Mode::Help => {
            println!("{}", about.usage());
            Ok(())
        }
        Mode::Provider(ledger) => {
            serve::log();
            provider::run(ledger, line.port, line.deduplicates, line.end).await
        }
        Mode::Service => service(about, line, start).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", about.name);
            ExitCode::from(2)
        }
    }
}

async fn service<F>(about: About, line: Line, start: impl FnOnce(Setting) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<Service, Failure>>,
{
    serve::log();
    let folder = Folder::make(line.folder.as_deref(), about.name)?;
    let in_folder = |name: &str| folder.path().join(name);
    let (mut provider, mut child) = (line.provider, None);
    if about.provider && provider.is_none() {
        let mut args: Vec<OsString> = vec!["provider".into(), "--ledger".into(), in_folder("ledger.jsonl").into()];
        args.extend((!line.deduplicates).then(|| OsString::from("--no-dedup")));
        let started = Process::start(args, None, &in_folder("provider.log")).await?;
        provider = Some(started.address);
        child = Some(started);
    }
    let keys_outlive_the_folder =
        line.folder.is_none() && line.store.as_ref().is_some_and(|store| !store.starts_with("memory"));
    let setting = Setting {
        store: line.store.unwrap_or_else(|| format!("sled:{}", in_folder("keys").display())),
        lease: line.lease,
        folder: folder.path().into(),
        provider,
        provider_deduplicates: line.deduplicates,
        options: line.options,
    };
    let listener = serve::listen(line.port).await?;
    let address = listener.local_addr()?;
    let Service { router, idempotency } = start(setting).await?;
    serve::say_where(&listener)?;
    if line.end == End::Interrupt {
        println!("its files are in {}; Ctrl-C ends it\n", folder.path().display());
        if keys_outlive_the_folder {
            println!("the folder is removed then and the store's keys are not: --folder DIR keeps both\n");
        }
        println!("{}", (about.to_try)(address));
    }
    serve::until_told(listener, router, &idempotency, line.end).await?;
    if let Some(provider) = child {
        provider.stop().await;
    }
    Ok(())
}

#[derive(Debug)]
enum Mode {
    Help,
    Service,
    Provider(PathBuf),
}

/// The command line.
struct Line {
    mode: Mode,
    store: Option<String>,
    folder: Option<PathBuf>,
    port: u16,
    lease: Duration,
    provider: Option<SocketAddr>,
    deduplicates: bool,
    end: End,
    options: HashMap<String, String>,
}

impl Line {
    fn parse(about: About) -> Result<Self, lexopt::Error> {
        let mut parser = Parser::from_env();
        let mut line = Self {
            mode: Mode::Service,
            store: std::env::var("IDEMPOTENCY_STORE").ok().filter(|store| !store.is_empty()),
            folder: None,
            port: 0,
            lease: LEASE,
            provider: None,
            deduplicates: true,
            end: End::Interrupt,
            options: HashMap::new(),
        };
        let (mut is_provider, mut ledger) = (false, None);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Short('h') | Arg::Long("help") => return Ok(Self { mode: Mode::Help, ..line }),
                Arg::Value(value) if about.provider && value == "provider" => is_provider = true,
                Arg::Long("store") => line.store = Some(parser.value()?.string()?),
                Arg::Long("folder") => line.folder = Some(PathBuf::from(parser.value()?)),
                Arg::Long("port") => line.port = parser.value()?.parse().map_err(of("--port"))?,
                Arg::Long("lease") => {
                    line.lease = parser.value()?.parse_with(humantime::parse_duration).map_err(of("--lease"))?
                }
                Arg::Long("child") => line.end = End::Parent,
                Arg::Long("provider") if about.provider => {
                    line.provider = Some(parser.value()?.parse().map_err(of("--provider"))?)
                }
                Arg::Long("ledger") if about.provider => ledger = Some(PathBuf::from(parser.value()?)),
                Arg::Long("no-dedup") if about.provider => line.deduplicates = false,
                Arg::Long(name) if about.options.iter().any(|(known, _)| *known == name) => {
                    let name = name.to_owned();
                    line.options.insert(name, parser.value()?.string()?);
                }
                other => return Err(other.unexpected()),
            }
        }
        if is_provider {
            line.mode = Mode::Provider(ledger.ok_or(format!("`{} provider` needs --ledger FILE", about.name))?);
        }
        Ok(line)
    }
}

/// Which option a value that cannot be read was given to: the error names the value alone.
pub fn of(option: &str) -> impl FnOnce(lexopt::Error) -> lexopt::Error {
    move |error| format!("{option}: {error}").into()
}

impl About {
    fn usage(self) -> String {
        let Self { name, does, options, .. } = self;
        let mut usage = format!(
            "\
{name}: {does}

  --store URL         where keys are kept: sled:./folder (default, in --folder), redis://host, postgres://host/database
                      or memory: (or the environment variable IDEMPOTENCY_STORE)
  --folder DIR        where all else is kept (default: a new one, removed in the end)
  --port N            the port on 127.0.0.1 (default: any free one)
  --lease TIME        how long a key stays locked when its process dies (default: 30s)
"
        );
        for (option, says) in options {
            usage += &format!("  {:<18}  {says}\n", format!("--{option}"));
        }
        if self.provider {
            usage += &format!(
                "  --provider ADDR     its payment provider, as 127.0.0.1:8081 (default: one is started)
  --no-dedup          that provider does not deduplicate on the downstream key

{name} provider --ledger FILE [--port N] [--no-dedup]
                      the payment provider alone, to be killed and started again at will"
            );
        }
        usage.trim_end().to_owned()
    }
}
