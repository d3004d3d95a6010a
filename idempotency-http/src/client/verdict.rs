//! What an answer means for whether to ask again.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{StatusCode, header};
use reqwest::Response;

use super::answer::ReplayExt;
use super::retry::Retry;
use super::retry_after::retry_after;
use crate::names::Status;
use crate::problem::{MEDIA_TYPE, ProblemKind};

/// What to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the caller's.
    Give,
    /// Ask again, with the same key, and after how long if the server says so.
    Again(Option<Duration>),
    /// Asking again gives nothing else, and the request was not carried out for this caller.
    Refused(ProblemKind),
}

/// Whether the answer's body says what the status means.
pub(super) fn is_problem(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ProblemKind::ALL.iter().any(|kind| kind.status() == response.status()) && kind.eq_ignore_ascii_case(MEDIA_TYPE)
}

/// The problem that a body names. One whose status is not the answer's is somebody else's.
pub(super) fn problem_of(status: StatusCode, body: &Bytes) -> Option<ProblemKind> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    ProblemKind::of_type(body.get("type")?.as_str()?).filter(|kind| kind.status() == status)
}

pub(super) fn judge(retry: &Retry, keyed: bool, response: &Response, problem: Option<ProblemKind>) -> Verdict {
    // The handler's own answer is none of the layer's, even where it uses the same words.
    let said = response.key_status();
    if let Some(kind) = problem
        && matches!(kind, ProblemKind::KeyReused | ProblemKind::OutcomeUnknown | ProblemKind::AnswerNotKept)
        && (said.is_none() && keyed)
    {
        return Verdict::Refused(kind);
    }
    let told = retry_after(response.headers(), SystemTime::now());
    let status = response.status();
    let again = retry.statuses.contains(&status)
        && match said {
            None => status != StatusCode::CONFLICT || keyed,
            // The handler's own conflict, not one of keys.
            Some(Status::Freed | Status::Unknown) => status != StatusCode::CONFLICT,
            // It will be the same, or run a second time without protection.
            Some(_) => false,
        }
        && (told.is_some() || !needs_retry_after(status));
    if again { Verdict::Again(told) } else { Verdict::Give }
}

/// Where a server turns requests away, asking again unasked makes it worse.
const fn needs_retry_after(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, headers: &[(&str, &str)], problem: Option<&str>, keyed: bool) -> Verdict {
        let body = problem.map_or(String::new(), |kind| format!(r#"{{"type":"https://x.example/problems/{kind}"}}"#));
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = Response::from(response.body("").unwrap());
        let problem = problem_of(response.status(), &body.into());
        judge(&Retry::new(), keyed, &response, problem)
    }

    #[test]
    fn conflicts_are_told_apart() {
        let after = [("retry-after", "2")];
        let two = Some(Duration::from_secs(2));
        assert_eq!(verdict(409, &after, Some("in-progress"), true), Verdict::Again(two));
        assert_eq!(verdict(409, &[], Some("in-progress"), true), Verdict::Again(None));
        assert_eq!(verdict(409, &after, None, true), Verdict::Again(two), "a server of others");
        assert_eq!(verdict(409, &after, None, false), Verdict::Give, "without a key it is no duplicate");
        for kind in [ProblemKind::OutcomeUnknown, ProblemKind::AnswerNotKept] {
            assert_eq!(verdict(409, &after, Some(kind.name()), true), Verdict::Refused(kind));
        }
        let own = [("idempotency-status", "freed"), ("retry-after", "2")];
        assert_eq!(verdict(409, &own, None, true), Verdict::Give, "the handler's own conflict");
        assert_eq!(verdict(409, &own, Some("outcome-unknown"), true), Verdict::Give, "the handler's own words");
    }

    #[test]
    fn a_key_that_was_used_is_told_from_what_is_not_valid() {
        assert_eq!(verdict(422, &[], Some("key-reused"), true), Verdict::Refused(ProblemKind::KeyReused));
        assert_eq!(verdict(422, &[], Some("amount-negative"), true), Verdict::Give);
        assert_eq!(verdict(422, &[], None, true), Verdict::Give);
        assert_eq!(verdict(400, &[], Some("key-reused"), true), Verdict::Give, "not its status");
    }

    #[test]
    fn what_is_recorded_is_final() {
        for status in ["recorded", "replayed", "not-replayable", "unrecorded", "unprotected"] {
            assert_eq!(verdict(503, &[("idempotency-status", status)], None, true), Verdict::Give, "{status}");
        }
        for status in ["freed", "unknown"] {
            assert_eq!(verdict(503, &[("idempotency-status", status)], None, true), Verdict::Again(None), "{status}");
        }
        for status in [200, 201, 302, 400, 401, 404, 408, 500, 501] {
            assert_eq!(verdict(status, &[("retry-after", "1")], None, true), Verdict::Give, "{status}");
        }
        for status in [502, 503, 504] {
            assert_eq!(verdict(status, &[], None, false), Verdict::Again(None), "{status}");
        }
        for status in [425, 429] {
            assert_eq!(verdict(status, &[], None, true), Verdict::Give, "{status}");
            let again = Verdict::Again(Some(Duration::from_secs(1)));
            assert_eq!(verdict(status, &[("retry-after", "1")], None, true), again, "{status}");
        }
    }
}
