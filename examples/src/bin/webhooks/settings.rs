//! What the service is told when it is started.

use std::fmt;
use std::time::Duration;

use idempotency_examples::Failure;
use idempotency_examples::app::Setting;
use idempotency_examples::schedule::Schedule;

use crate::signature::Secrets;

/// For whoever tries the service.
const DEMO: &str = "whatsapp=demo-secret";

/// The options, besides those of every service.
pub(crate) const OPTIONS: &[(&str, &str)] = &[
    ("secrets", "who may send, and what each signs with: whatsapp=SECRET,shop=SECRET (or WEBHOOKS_SECRETS)"),
    ("window", "how old a signature may be, and how far ahead its clock (default: 5m)"),
    ("enabled", "whether a webhook with a known key is answered as before: true (default) or false"),
    ("ttl", "how long answers are kept (default: 24h)"),
    ("cleanup", "when expired records are removed: a cron expression, in UTC (default: 0 * * * *)"),
    ("cleanup-on-start", "whether they are removed at the start, too: true or false (default)"),
    ("statistics-age", "how old the records' count may be that statistics tell (default: 10s)"),
    ("admin-token", "what statistics and clean-up reports ask for (or WEBHOOKS_ADMIN_TOKEN; default: nothing)"),
];

/// What the service is told when it is started.
pub(crate) struct Settings {
    pub(crate) secrets: Secrets,
    pub(crate) window: Duration,
    pub(crate) enabled: bool,
    pub(crate) ttl: Duration,
    pub(crate) clean_up: Schedule,
    pub(crate) clean_up_on_start: bool,
    pub(crate) statistics_age: Duration,
    pub(crate) admin_token: Option<String>,
}

impl Settings {
    pub(crate) fn read(setting: &Setting) -> Result<Self, Failure> {
        let minutes = Duration::from_secs(60);
        let secrets = secret(setting, "secrets", "WEBHOOKS_SECRETS").unwrap_or_else(|| {
            tracing::warn!(
                "webhooks are signed with the demo's secret, which everybody knows; name yours by --secrets"
            );
            DEMO.into()
        });
        let admin_token = secret(setting, "admin-token", "WEBHOOKS_ADMIN_TOKEN");
        if admin_token.is_none() {
            tracing::warn!("everybody may see statistics and clean-up reports; set --admin-token");
        }
        Ok(Self {
            secrets: secrets.parse().map_err(|error| format!("--secrets: {error}"))?,
            window: duration(setting, "window")?.unwrap_or(5 * minutes),
            enabled: flag(setting, "enabled")?.unwrap_or(true),
            ttl: duration(setting, "ttl")?.unwrap_or(24 * 60 * minutes),
            clean_up: setting.option("cleanup").unwrap_or("0 * * * *").parse()?,
            clean_up_on_start: flag(setting, "cleanup-on-start")?.unwrap_or(false),
            statistics_age: duration(setting, "statistics-age")?.unwrap_or(Duration::from_secs(10)),
            admin_token,
        })
    }
}

/// Shows no secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("window", &self.window).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// A secret: by the environment where it is real, as `ps` shows a command line.
fn secret(setting: &Setting, option: &str, variable: &str) -> Option<String> {
    setting.option(option).map(str::to_owned).or_else(|| std::env::var(variable).ok()).filter(|text| !text.is_empty())
}

fn duration(setting: &Setting, name: &str) -> Result<Option<Duration>, Failure> {
    let Some(text) = setting.option(name) else { return Ok(None) };
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("--{name}: `{text}` is no time: {error}; write it as 5m or 24h"))?;
    Ok(Some(time))
}

fn flag(setting: &Setting, name: &str) -> Result<Option<bool>, Failure> {
    match setting.option(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(format!("--{name} is `true` or `false`, not `{other}`").into()),
    }
}
