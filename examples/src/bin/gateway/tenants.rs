//! Who may call: an API key belongs to a tenant.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use idempotency_examples::Failure;
use idempotency_examples::problem::Problem;
use sha2::{Digest, Sha256};

/// For trying it: the documentation names them, so they keep nobody out.
const TO_TRY: [(&str, &str); 2] = [("tenant_abc123", "my-tenant"), ("tenant_def456", "other-tenant")];

/// A tenant, as its API key has shown: never as a request says.
#[derive(Clone, Debug)]
pub(crate) struct Tenant(pub(crate) Arc<str>);

/// The API keys, of which only the digests are kept. Found by its digest, a key is not compared byte by byte, which
/// would tell by the time it takes how much of a guess is right.
#[derive(Debug)]
pub(crate) struct Tenants(HashMap<[u8; 32], Tenant>);

impl Tenants {
    /// Reads a file of digests and tenants; without one, there are two whose keys are known to all.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file else {
            let known = TO_TRY.map(|(key, tenant)| (Sha256::digest(key).into(), Tenant(tenant.into())));
            return Ok(Self(known.into()));
        };
        let cannot = |what: &dyn std::fmt::Display| {
            format!("{}: {what}; it holds {{\"SHA-256 of an API key, in hex\": \"tenant\", …}}", file.display())
        };
        let text = std::fs::read(file).map_err(|error| cannot(&error))?;
        let listed: HashMap<String, String> = serde_json::from_slice(&text).map_err(|error| cannot(&error))?;
        let mut tenants = HashMap::new();
        for (digest, tenant) in listed {
            let bytes = bytes_of(&digest).ok_or_else(|| cannot(&format!("`{digest}` is not 64 hexadecimal digits")))?;
            if tenant.is_empty() {
                return Err(cannot(&"a tenant without a name").into());
            }
            tenants.insert(bytes, Tenant(tenant.into()));
        }
        Ok(Self(tenants))
    }

    /// The tenant of a request, by its API key; the tenant that it names must be that one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Result<Tenant, Problem> {
        let only = |name| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())
        };
        let known = only("x-api-key").and_then(|key| self.0.get(&<[u8; 32]>::from(Sha256::digest(key.as_bytes()))));
        let Some(tenant) = known else {
            let detail = "send the API key of a tenant in the header x-api-key";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        };
        if headers.contains_key("x-tenant-id")
            && only("x-tenant-id").is_none_or(|named| named.as_bytes() != tenant.0.as_bytes())
        {
            let detail =
                "x-tenant-id names another tenant than that of the API key; leave it out, or send the right one";
            return Err(Problem::new(StatusCode::FORBIDDEN, "tenant-mismatch", detail));
        }
        Ok(tenant.clone())
    }
}

fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = hex.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(tenants: &Tenants, api_key: &'static str) -> Option<String> {
        let headers = HeaderMap::from_iter([("x-api-key".parse().unwrap(), api_key.parse().unwrap())]);
        tenants.of(&headers).ok().map(|tenant| tenant.0.to_string())
    }

    #[test]
    fn a_file_says_whose_api_keys_are_whose_and_those_to_try_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tenants.json");
        // `printf one | sha256sum`; a tenant may have several, to change from one to the next.
        let (one, two) = (
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
            "3FC4CCFE745870E2C0D99F71F30FF0656C8DEDD41CC1D7D3D376B0DBE685E2F3",
        );
        std::fs::write(&file, format!(r#"{{"{one}": "a", "{two}": "a"}}"#)).unwrap();
        let tenants = Tenants::open(Some(&file)).unwrap();
        assert_eq!(
            ["one", "two", "three", TO_TRY[0].0].map(|key| tenant(&tenants, key)),
            [Some("a".into()), Some("a".into()), None, None]
        );
        for bad in ["", "[]", r#"{"00": "a"}"#, r#"{"zz": "a"}"#, &format!(r#"{{"{one}": ""}}"#)] {
            std::fs::write(&file, bad).unwrap();
            let error = Tenants::open(Some(&file)).unwrap_err().to_string();
            assert!(error.contains("tenants.json") && error.contains("SHA-256"), "{error}");
        }
    }
}
