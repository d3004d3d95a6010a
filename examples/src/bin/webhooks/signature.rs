//! Who sent a webhook, and when: `X-Webhook-Signature: t=1764000000,v1=<hex>`, where `v1` is the HMAC-SHA256 of
//! `1764000000.<body>` with the sender's secret.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use hmac::{Hmac, KeyInit, Mac};
use idempotency_examples::problem::Problem;
use sha2::Sha256;

/// The header with the signature.
pub(crate) const SIGNATURE: &str = "x-webhook-signature";

/// A secret and whose it is. **The source is whoever can sign with its secret**, whatever a request says of itself.
#[derive(Clone)]
pub(crate) struct Secrets(Vec<(String, Hmac<Sha256>)>);

impl FromStr for Secrets {
    type Err = &'static str;

    /// `SOURCE=SECRET,SOURCE=SECRET`
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut secrets: Vec<(&str, &str)> = Vec::new();
        for pair in text.split(',') {
            let (source, secret) = pair.split_once('=').ok_or("write SOURCE=SECRET, and more after commas")?;
            let is_name = (1..=64).contains(&source.len()) && source.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !is_name || secret.is_empty() {
                return Err("a source is 1 to 64 letters or digits, and has a secret");
            }
            // Else it would not be known who of the two had signed.
            if secrets.iter().any(|(_, others)| *others == secret) {
                return Err("two sources have the same secret");
            }
            secrets.push((source, secret));
        }
        let hashed = |secret: &str| Hmac::new_from_slice(secret.as_bytes()).map_err(|_| "a secret is too long");
        secrets
            .into_iter()
            .map(|(source, secret)| Ok((source.into(), hashed(secret)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(source, _)| source)).finish()
    }
}

/// Why a request is not taken for a provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error(
        "there is no signature: send X-Webhook-Signature: t=<seconds since 1970>,v1=<HMAC-SHA256 of t.body, in hex>"
    )]
    Missing,
    #[error("the signature is not written as t=<seconds since 1970>,v1=<HMAC-SHA256 of t.body, in hex>")]
    Malformed,
    #[error(
        "the signature is nobody's: neither body nor time may be changed, and the secret must be the one agreed on"
    )]
    Wrong,
    #[error("the signature is {by:?} too old: sign anew for every delivery")]
    TooOld { by: Duration },
    #[error("the signature is {by:?} ahead: set the sender's clock")]
    TooNew { by: Duration },
}

impl From<Unsigned> for Problem {
    fn from(why: Unsigned) -> Self {
        let kind = match why {
            Unsigned::Missing => "signature-missing",
            Unsigned::Malformed | Unsigned::Wrong => "signature-wrong",
            Unsigned::TooOld { .. } | Unsigned::TooNew { .. } => "signature-out-of-time",
        };
        Self::new(StatusCode::UNAUTHORIZED, kind, why.to_string())
    }
}

/// Whether two texts are the same, in constant time.
pub(crate) fn is_same(sent: &str, secret: &str) -> bool {
    let hashed = |text: &str| Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mac| mac.chain_update(text));
    match (hashed(sent), hashed(secret)) {
        (Ok(sent), Ok(secret)) => sent.verify(&secret.finalize().into_bytes()).is_ok(),
        _ => false,
    }
}

impl Secrets {
    /// Who may send.
    pub(crate) fn sources(&self) -> Vec<&str> {
        self.0.iter().map(|(source, _)| source.as_str()).collect()
    }

    /// Whose signature this is; the time within it may be off by `window` either way.
    pub(crate) fn source_of(
        &self,
        header: Option<&str>,
        body: &[u8],
        now: SystemTime,
        window: Duration,
    ) -> Result<&str, Unsigned> {
        let Signature { time, digests } =
            Signature::read(header.ok_or(Unsigned::Missing)?).ok_or(Unsigned::Malformed)?;
        let signed_by = |secret: &Hmac<Sha256>| {
            let mac = secret.clone().chain_update(time).chain_update(b".").chain_update(body);
            // In constant time: how long it takes does not tell how much of a guess was right.
            digests.iter().any(|digest| mac.clone().verify_slice(digest).is_ok())
        };
        let (source, _) = self.0.iter().find(|(_, secret)| signed_by(secret)).ok_or(Unsigned::Wrong)?;
        let signed_at = time.parse().map_err(|_| Unsigned::Malformed)?;
        let signed_at = UNIX_EPOCH.checked_add(Duration::from_secs(signed_at)).ok_or(Unsigned::Malformed)?;
        let off = |by: Duration| by.checked_sub(window).filter(|by| !by.is_zero());
        match now.duration_since(signed_at) {
            Ok(old) => off(old).map_or(Ok(source), |by| Err(Unsigned::TooOld { by })),
            Err(ahead) => off(ahead.duration()).map_or(Ok(source), |by| Err(Unsigned::TooNew { by })),
        }
    }
}

/// What the header says.
struct Signature<'a> {
    /// As it was signed.
    time: &'a str,
    /// More than one while a secret is being changed.
    digests: Vec<Vec<u8>>,
}

impl<'a> Signature<'a> {
    fn read(header: &'a str) -> Option<Self> {
        let (mut time, mut digests) = (None, Vec::new());
        for part in header.split(',') {
            match part.trim().split_once('=')? {
                ("t", at) if time.is_none() && at.bytes().all(|byte| byte.is_ascii_digit()) => time = Some(at),
                ("t", _) => return None,
                ("v1", hex) => digests.push(bytes(hex)?),
                // Of a scheme that is not known here.
                _ => {}
            }
        }
        let time = time.filter(|_| !digests.is_empty())?;
        Some(Self { time, digests })
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);
    const BODY: &[u8] = b"{\"id\":\"evt_1\"}";

    /// `printf '1764000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac SECRET`
    const WHATSAPPS: &str = "50fcbb95db29e8c8b2bd4d74bff22974bb43165187911f755feb2d4a89111ca3";
    const SHOPS: &str = "45bd474b17d2480e648e033a4390e9151a724bc9a26cb456bf4c89c67242e425";

    fn asked(header: &str, seconds: u64) -> Result<String, Unsigned> {
        let secrets: Secrets = "whatsapp=demo-secret,shop=another".parse().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        secrets.source_of(Some(header), BODY, now, WINDOW).map(str::to_owned)
    }

    #[test]
    fn the_source_is_whose_secret_signed_it() {
        assert_eq!(asked(&format!("t=1764000000,v1={WHATSAPPS}"), 1_764_000_000).as_deref(), Ok("whatsapp"));
        assert_eq!(asked(&format!("t=1764000000,v1={SHOPS}"), 1_764_000_000).as_deref(), Ok("shop"));
        // While a secret is changed there are two, and schemes that are not known here.
        let both = format!("v0=zz, t=1764000000, v1={}, v1={SHOPS}", "0".repeat(64));
        assert_eq!(asked(&both, 1_764_000_000).as_deref(), Ok("shop"));
    }

    #[test]
    fn whatever_was_not_signed_so_is_nobodys() {
        for (bad, why) in [
            (format!("t=1764000001,v1={WHATSAPPS}"), Unsigned::Wrong),
            (format!("t=1764000000,v1={}", "0".repeat(64)), Unsigned::Wrong),
            (format!("t=1764000000,v1={}", &WHATSAPPS[..62]), Unsigned::Wrong),
            ("t=1764000000,v1=".into(), Unsigned::Wrong),
            (format!("t=1764000000,v1={}", &WHATSAPPS[..63]), Unsigned::Malformed),
            (format!("t=1764000000,v1=zz{}", &WHATSAPPS[2..]), Unsigned::Malformed),
            (format!("v1={WHATSAPPS}"), Unsigned::Malformed),
            (format!("t=now,v1={WHATSAPPS}"), Unsigned::Malformed),
            (format!("t=1764000000,t=1764000000,v1={WHATSAPPS}"), Unsigned::Malformed),
            ("t=1764000000".into(), Unsigned::Malformed),
            (WHATSAPPS.into(), Unsigned::Malformed),
            (String::new(), Unsigned::Malformed),
        ] {
            assert_eq!(asked(&bad, 1_764_000_000), Err(why), "{bad}");
        }
        let secrets: Secrets = "whatsapp=demo-secret".parse().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_764_000_000);
        assert_eq!(secrets.source_of(None, BODY, now, WINDOW), Err(Unsigned::Missing));
        let header = format!("t=1764000000,v1={WHATSAPPS}");
        assert_eq!(secrets.source_of(Some(&header), b"{\"id\":\"evt_2\"}", now, WINDOW), Err(Unsigned::Wrong));
    }

    #[test]
    fn its_time_may_be_off_by_the_window_either_way_and_no_more() {
        let header = format!("t=1764000000,v1={WHATSAPPS}");
        for fine in [1_764_000_300, 1_763_999_700] {
            assert!(asked(&header, fine).is_ok(), "{fine}");
        }
        let by = Duration::from_secs(1);
        assert_eq!(asked(&header, 1_764_000_301), Err(Unsigned::TooOld { by }));
        assert_eq!(asked(&header, 1_763_999_699), Err(Unsigned::TooNew { by }));
    }

    #[test]
    fn secrets_that_leave_open_who_signed_are_refused() {
        for bad in ["", "whatsapp", "whatsapp=", "=secret", "what/sapp=secret", "a=same,b=same", "a=one,,b=two"] {
            assert!(bad.parse::<Secrets>().is_err(), "{bad}");
        }
        let secrets: Secrets = "a=one,b=two".parse().unwrap();
        assert_eq!(format!("{secrets:?}"), "[\"a\", \"b\"]");
    }
}
