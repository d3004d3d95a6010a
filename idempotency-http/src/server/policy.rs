//! What holds for the requests of a route.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::InvalidHeaderName;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use idempotency_core::{Attributes, Context, Fingerprint, InvalidDuration, LONGEST, OnUnknown, SHORTEST};

use super::answers::Answers;
use super::bodies::Limits;
use super::finality::Finality;
use super::fingerprint::BodyForm;
use super::headers::ReplayedHeaders;
use super::identity::{Format, Identity, Missing};
use super::notes::Notes;
use super::replies::{Replay, Replies};
use crate::header::Reading;
use crate::problem::Problem;

/// Where the policy is published unless it is said otherwise.
pub const DEFAULT_POLICY_URL: &str = "/.well-known/idempotency-policy";

/// What holds for the requests of a route: which key they have, what counts as the same request, which
/// responses are final, and what is answered where nothing runs.
///
/// The defaults: POST and PATCH must have the header `Idempotency-Key`, read leniently, in no scope; method,
/// path, query and the body's bytes count; request bodies to 1 MiB within 30 s, responses to 512 KiB within
/// 5 s; a duplicate that comes while its request runs is answered 409; the store's failure is answered 503.
#[derive(Clone, Debug)]
#[must_use = "a policy holds once a layer has it"]
pub struct Policy {
    pub(super) on: bool,
    pub(super) methods: Vec<Method>,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    pub(super) replies: Replies,
    pub(super) answers: Answers,
    pub(super) notes: Notes,
    pub(super) retention: Option<Duration>,
    pub(super) wait: Option<Duration>,
    pub(super) on_unknown: Option<OnUnknown>,
    pub(super) fail_open: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy {
    /// The defaults.
    pub fn new() -> Self {
        let link = Answers::link_to(DEFAULT_POLICY_URL).expect("a plain URL");
        let answers =
            Answers { types: "/problems/".to_owned(), policy_url: DEFAULT_POLICY_URL.to_owned(), link, own: None };
        Self {
            on: true,
            methods: vec![Method::POST, Method::PATCH],
            identity: Identity::default(),
            limits: Limits::default(),
            replies: Replies::default(),
            answers,
            notes: Notes::default(),
            retention: None,
            wait: None,
            on_unknown: None,
            fail_open: false,
        }
    }

    /// Turns the layer off or on: off, every request passes as if it were not there.
    pub fn with_enabled(self, on: bool) -> Self {
        Self { on, ..self }
    }

    /// Sets the methods that it is for; requests of others pass. POST and PATCH by default.
    pub fn with_methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        Self { methods: methods.into_iter().collect(), ..self }
    }

    fn identified(mut self, change: impl FnOnce(&mut Identity)) -> Self {
        change(&mut self.identity);
        self
    }

    /// Sets the headers that a key is read from: `["X-Idempotency-Key"]`. With several, a request may use
    /// any; two that differ are refused.
    ///
    /// # Errors
    /// [`PolicyError`] where a name is none, or there is no name.
    pub fn with_header_names<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Result<Self, PolicyError> {
        let names: Vec<HeaderName> = names.into_iter().map(HeaderName::try_from).collect::<Result<_, _>>()?;
        if names.is_empty() {
            return Err(PolicyError::NoHeader);
        }
        Ok(self.identified(|identity| identity.names = names))
    }

    /// Sets how the header is read; [`Reading::Lenient`] by default.
    pub fn with_reading(self, reading: Reading) -> Self {
        self.identified(|identity| identity.reading = reading)
    }

    /// Sets what becomes of a request without a key; [`Missing::Refused`] by default.
    pub fn with_missing(self, missing: Missing) -> Self {
        self.identified(|identity| identity.missing = missing)
    }

    /// Takes the key from elsewhere in the request: a field of the body ([`json_field`](super::json_field)),
    /// a provider's event id. Where that gives none, the header counts.
    pub fn with_key_from(self, key: impl Fn(&Parts, &Bytes) -> Option<String> + Send + Sync + 'static) -> Self {
        self.identified(|identity| identity.elsewhere = Some(Arc::new(key)))
    }

    /// Sets a format that keys must have, in words for whoever sends another ("a UUID").
    pub fn with_key_format(
        self,
        described: impl Into<String>,
        fits: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let format = Format { described: described.into(), fits: Arc::new(fits) };
        self.identified(|identity| identity.format = Some(format))
    }

    /// Sets whose keys a request's are: the tenant, account or user, **as authentication verified it**, not
    /// as the client says. Keys of two scopes never meet. A request for which this gives `None` or nothing is
    /// answered 403.
    ///
    /// Without a scope, all clients share their keys: whoever guesses another's key, and sends the same
    /// request, gets the other's response.
    pub fn with_scope(self, scope: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.identified(|identity| identity.scope = Some(Arc::new(scope)))
    }

    /// Sets the route's template (`/payments/{id}`), which with the method is the operation: the same key on
    /// another route is another key. By default axum's matched path, with the feature `axum`; or else the
    /// path itself.
    pub fn with_template(self, template: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.identified(|identity| identity.template = Some(Arc::new(template)))
    }

    /// Sets as what the body counts; [`BodyForm::Bytes`] by default.
    pub fn with_body_form(self, form: BodyForm) -> Self {
        self.identified(|identity| identity.fingerprint.body = form)
    }

    /// Sets request headers that count, beside method, path, query and body; none by default. Neither `Host` nor
    /// `Content-Type` counts unless named here: proxies change them between a request and its retry. Services for
    /// several hosts tell them apart by [`with_scope`](Self::with_scope).
    pub fn with_fingerprinted_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.identified(|identity| identity.fingerprint.headers = names.into_iter().collect())
    }

    /// Makes the fingerprint of what is chosen here, and nothing else.
    pub fn with_fingerprint(self, of: impl Fn(&Parts, &Bytes) -> Fingerprint + Send + Sync + 'static) -> Self {
        self.identified(|identity| identity.fingerprint.chosen = Some(Arc::new(of)))
    }

    fn limited(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Sets the most bytes of a request's body, which are held in memory: over it, 413 before anything runs.
    /// 1 MiB by default.
    pub fn with_request_limit(self, bytes: usize) -> Self {
        self.limited(|limits| limits.request = bytes)
    }

    /// Sets how long a request's body may take: after it, 408 before anything runs. 30 s by default.
    pub fn with_request_time(self, limit: Duration) -> Self {
        self.limited(|limits| limits.request_time = limit)
    }

    /// Sets the most bytes of a response's body that are recorded; 512 KiB by default. A handle has a limit
    /// of its own ([`with_result_limit`](idempotency_core::Idempotency::with_result_limit)), headers included.
    pub fn with_response_limit(self, bytes: usize) -> Self {
        self.limited(|limits| limits.response = bytes)
    }

    /// Sets how long a response's body is gathered before it counts as a stream: it is then passed on, and
    /// not recorded. 5 s by default.
    ///
    /// **A stream is held back for so long**, unless it says that it is one: by the media type
    /// `text/event-stream`, or by [`Finality::FactOnly`] among the response's extensions. Such a one is passed on
    /// from its first byte.
    pub fn with_response_time(self, limit: Duration) -> Self {
        self.limited(|limits| limits.response_time = limit)
    }

    /// Sets which responses are final, by their status; [`Finality::of`] by default.
    pub fn with_finality(mut self, finality: impl Fn(StatusCode) -> Finality + Send + Sync + 'static) -> Self {
        self.replies.finality = Arc::new(finality);
        self
    }

    /// Sets which headers of a response are recorded and replayed.
    pub fn with_replayed_headers(mut self, headers: ReplayedHeaders) -> Self {
        self.replies.headers = headers;
        self
    }

    /// Changes each replay before it is sent, such as by `"isRetry": true` in its body. What is recorded
    /// stays as it is.
    pub fn with_replay(mut self, rewrite: impl Fn(Replay<'_>) + Send + Sync + 'static) -> Self {
        self.replies.rewrite = Some(Arc::new(rewrite));
        self
    }

    /// Keeps attributes with a request's record, to be seen by whoever lists the records: a webhook's type and
    /// source, the order that it is about. They are no secret, and have 1,024 bytes together at the most
    /// ([`Attributes::with`]). They do not tell requests apart.
    pub fn with_attributes(self, of: impl Fn(&Parts, &Bytes) -> Attributes + Send + Sync + 'static) -> Self {
        Self { notes: Notes::new(of), ..self }
    }

    /// Sets how long a response is replayed; the handle's retention by default.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero and what overflows.
    pub fn with_retention(self, retention: Duration) -> Result<Self, InvalidDuration> {
        Ok(Self { retention: Some(checked("retention", retention)?), ..self })
    }

    /// Waits up to `limit` for a request with the same key that is running, instead of answering 409.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero and what overflows.
    pub fn with_wait(self, limit: Duration) -> Result<Self, InvalidDuration> {
        Ok(Self { wait: Some(checked("wait", limit)?), ..self })
    }

    /// Sets what a retry meets after an attempt that is unknown; the handle's policy by default. With
    /// [`OnUnknown::RunAgain`] the handler is told so, by the
    /// [`Attempt`](idempotency_core::Attempt::prior) among the request's extensions, and can look first what
    /// happened; [`OnUnknown::Reconcile`] has nothing to look with here, and is answered 500.
    pub fn with_on_unknown(self, on_unknown: OnUnknown) -> Self {
        Self { on_unknown: Some(on_unknown), ..self }
    }

    /// Runs requests **without protection** while the store cannot be reached, instead of answering 503.
    /// Their responses say `Idempotency-Status: unprotected`.
    pub fn with_fail_open(self) -> Self {
        Self { fail_open: true, ..self }
    }

    /// Keeps with each record where its request came from, such as the id by which a request is followed through
    /// the logs: a replay then tells it of the first run ([`Replay::origin`], [`Origin`](super::Origin)).
    pub fn with_context(mut self, context: impl Fn(&Parts) -> Context + Send + Sync + 'static) -> Self {
        self.replies.context = Some(Arc::new(context));
        self
    }

    /// Gives the answers of one's own where there is no response of a handler, from the problem and the
    /// request's headers.
    pub fn with_answers(
        mut self,
        answer: impl Fn(&Problem, &HeaderMap) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.answers.own = Some(Arc::new(answer));
        self
    }

    /// Sets what comes before a problem's name in its `type`; `/problems/` by default. Where it is a path,
    /// `PolicyPage::into_router` serves there what each problem means; `https://docs.shop.example/problems#` sends
    /// whoever follows it to documentation of one's own.
    pub fn with_problem_types(mut self, base: impl Into<String>) -> Self {
        self.answers.types = base.into();
        self
    }

    /// Sets where the policy is published, to which every answer links; [`DEFAULT_POLICY_URL`] by default.
    ///
    /// # Errors
    /// [`PolicyError`] where it is no URL that a `Link` header can hold.
    pub fn with_policy_url(mut self, url: impl Into<String>) -> Result<Self, PolicyError> {
        self.answers.policy_url = url.into();
        self.answers.link = Answers::link_to(&self.answers.policy_url).ok_or(PolicyError::Url)?;
        Ok(self)
    }

    pub(super) fn applies_to(&self, method: &Method) -> bool {
        self.on && self.methods.contains(method)
    }
}

fn checked(name: &'static str, given: Duration) -> Result<Duration, InvalidDuration> {
    if (SHORTEST..=LONGEST).contains(&given) { Ok(given) } else { Err(InvalidDuration { name, given }) }
}

/// A setting of a policy that is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The name of a header is none.
    #[error(transparent)]
    HeaderName(#[from] InvalidHeaderName),
    /// There is no header to read a key from.
    #[error("there is no header to read a key from")]
    NoHeader,
    /// The policy's URL is none that an answer could link to from anywhere.
    #[error("the policy's URL is not `https://…` or `/…`, or has characters that a URL does not have")]
    Url,
}
