//! One request, from its key to its response.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use idempotency_core::{Attempt, Call, Error, How, Idempotency, Key, Outcome, Unrecorded};
use tower_service::Service;

use super::conflict::{one_too_many, problem_of};
use super::identity::Head;
use super::layer::Shared;
use super::origin::{Origin, tell};
use super::policy::Policy;
use super::record::Answered;
use super::replies::{Replay, Unanswered, mark, set};
use super::request_body::{self, RequestBody};
use super::response_body::ReplyBody;
use crate::names::{IDEMPOTENCY_REMAINING, IDEMPOTENCY_REPLAYED, IDEMPOTENCY_STATUS, Status};
use crate::problem::{Problem, ProblemKind};

pub(super) async fn handle<S, Req, Res>(
    mut ready: S,
    shared: Arc<Shared>,
    policy: Arc<Policy>,
    parts: Parts,
    body: Req,
) -> Result<Response<ReplyBody<Res>>, S::Error>
where
    S: Service<Request<RequestBody<Req>>, Response = Response<Res>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Req: Body + Send + 'static,
    Req::Data: Send,
    Req::Error: Into<Box<dyn StdError + Send + Sync>>,
    Res: Body + Send + 'static,
    Res::Data: Send,
    Res::Error: Send,
{
    let (header, scope) = match policy.identity.head(&parts) {
        Ok(Head::Read { header, scope }) => (header, scope),
        Ok(Head::Pass) => {
            return without_key(ready.call(Request::from_parts(parts, RequestBody::untouched(body))).await);
        }
        Err(problem) => return Ok(answer(&policy, None, &problem, &parts.headers)),
    };
    let (body, trailers) = match request_body::gather(body, &policy.limits).await {
        Ok(gathered) => gathered,
        Err(problem) => return Ok(answer(&policy, None, &problem, &parts.headers)),
    };
    let key = match policy.identity.key(&parts, &body, header, scope) {
        Ok(Some(key)) => key,
        Ok(None) => {
            return without_key(ready.call(Request::from_parts(parts, RequestBody::gathered(body, trailers))).await);
        }
        Err(problem) => return Ok(answer(&policy, None, &problem, &parts.headers)),
    };

    let headers = policy.answers.kept(&parts.headers);
    let attributes = policy.notes.of(&parts, &body);
    // The layer around this one runs the request, under the very key that is asked for here.
    let is_within = parts.extensions.get::<Attempt>().is_some_and(|outer| *outer.key() == key);
    let running = {
        let mut call = settings(&shared.idempotency, &key, &policy);
        if let Some(context) = &policy.replies.context {
            call = call.context(context(&parts));
        }
        let policy = policy.clone();
        // Boxed, as it is moved often on its way, and the run is one allocation.
        let mut request = Box::new(Request::from_parts(parts, RequestBody::gathered(body, trailers)));
        // Detachable, so that a client that hangs up does not leave the handler half-way.
        call.attributes(attributes).effect_of(Unanswered::effect).detachable(move |attempt: Attempt| async move {
            let method = request.method().clone();
            request.extensions_mut().insert(attempt.clone());
            let response = ready.call(*request).await.map_err(Unanswered::Service)?;
            policy.replies.take(response, &attempt, &method, &policy.limits).await
        })
    };
    match running.await {
        Ok(outcome) => Ok(told(outcome, key, &shared.idempotency, &policy, &headers)),
        Err(Unanswered::Freed(response)) => Ok(marked(*response, Status::Freed)),
        Err(Unanswered::Unknown(response)) => Ok(marked(*response, Status::Unknown)),
        Err(Unanswered::Service(error)) => Err(error),
        Err(Unanswered::Idempotency(Error::InProgress { .. })) if is_within => {
            Ok(answer(&policy, Some(key), &one_too_many(), &headers))
        }
        Err(Unanswered::Idempotency(error)) => {
            let problem = problem_of(&shared.idempotency, &error).await;
            Ok(answer(&policy, Some(key), &problem, &headers))
        }
    }
}

fn settings<'a>(idempotency: &'a Idempotency, key: &'a Key, policy: &Policy) -> Call<'a> {
    let mut call = idempotency.call(key);
    if let Some(retention) = policy.retention {
        call = call.retention(retention);
    }
    if let Some(limit) = policy.wait {
        call = call.wait(limit);
    }
    if let Some(on_unknown) = policy.on_unknown {
        call = call.on_unknown(on_unknown);
    }
    if policy.fail_open { call.fail_open() } else { call }
}

/// The response of a handler that ran without a key of this layer's. A layer within this one may have known better.
fn without_key<B: Body, E>(response: Result<Response<B>, E>) -> Result<Response<ReplyBody<B>>, E> {
    response.map(|response| {
        let mut response = response.map(ReplyBody::passed);
        if !response.headers().contains_key(IDEMPOTENCY_STATUS) {
            mark(&mut response, Status::NoKey);
        }
        if response.extensions().get::<Origin>().is_some() { response } else { tell(response, Origin::NoKey) }
    })
}

fn answer<B: Body>(
    policy: &Policy,
    key: Option<Key>,
    problem: &Problem,
    headers: &HeaderMap,
) -> Response<ReplyBody<B>> {
    let response = policy.answers.response(problem, headers).map(|body| ReplyBody::whole(body, None));
    tell(response, Origin::NotRun { key, problem: problem.kind })
}

fn marked<B>(mut response: Response<B>, status: Status) -> Response<B> {
    mark(&mut response, status);
    response
}

/// The response of a run, with what became of its key.
fn told<B: Body>(
    outcome: Outcome<Answered<B>>,
    key: Key,
    idempotency: &Idempotency,
    policy: &Policy,
    headers: &HeaderMap,
) -> Response<ReplyBody<B>> {
    let (Answered { recorded, first }, how) = outcome.into_parts();
    let Some(first) = first else {
        return match recorded.and_then(|recorded| recorded.to_response()) {
            Some(response) => replayed(response, key, how, policy),
            None => answer(policy, Some(key), &Problem::new(ProblemKind::AnswerNotKept), headers),
        };
    };
    let mut response = *first;
    let status = match how {
        How::Unprotected(_) => Status::Unprotected,
        How::Unrecorded(Unrecorded::NotEncodable(_) | Unrecorded::TooLarge { .. }) => Status::NotReplayable,
        How::Executed | How::Reconciled if recorded.is_some() => Status::Recorded,
        How::Executed | How::Reconciled => Status::NotReplayable,
        _ => Status::Unrecorded,
    };
    if status == Status::Recorded {
        remains(&mut response, policy.retention.unwrap_or_else(|| idempotency.retention()));
    }
    marked(response, status)
}

fn replayed<B: Body>(
    (mut response, trailers): (Response<Bytes>, Option<HeaderMap>),
    key: Key,
    how: How,
    policy: &Policy,
) -> Response<ReplyBody<B>> {
    if let How::Replayed(origin) = how {
        set(&mut response, IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        remains(&mut response, origin.remaining);
        if let Some(rewrite) = &policy.replies.rewrite {
            rewrite(Replay { response: &mut response, origin: &origin });
        }
        response = tell(response, Origin::Replayed { key, first: *origin });
    }
    mark(&mut response, Status::Replayed);
    response.map(|body| ReplyBody::whole(body, trailers))
}

fn remains<B>(response: &mut Response<B>, remaining: Duration) {
    set(response, IDEMPOTENCY_REMAINING, HeaderValue::from(remaining.as_secs()));
}
