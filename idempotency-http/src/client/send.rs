//! One logical request: sent, and sent again, with one key.

use std::time::Duration;

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Next};
use tokio::time::{Instant, sleep, timeout};

use super::answer::Sent;
use super::error::{ClientError, GaveUp, Last, Limit};
use super::gather::gather;
use super::retry::Retry;
use super::verdict::{Verdict, is_problem, judge, problem_of};
use crate::header::HeaderKey;
use crate::problem::ProblemKind;

/// The most of an answer that is read to find what it means.
const LARGEST_PROBLEM: usize = 64 * 1024;

/// How a request is sent.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    pub(super) retry: &'a Retry,
    /// Answers up to so many bytes are waited for.
    pub(super) whole: u64,
    pub(super) key: Option<HeaderKey>,
    pub(super) operation: Option<String>,
}

impl Sending<'_> {
    pub(super) async fn send(
        self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let end = Instant::now().checked_add(self.retry.total);
        let left = || end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        let mut attempts = 0;
        loop {
            let copy = request.try_clone();
            attempts += 1;
            let limit = self.retry.attempt.min(left());
            let attempt = self.attempt(next.clone().run(request, extensions));
            let (last, told) = match timeout(limit, attempt).await {
                Ok(Ok((mut response, problem))) => match judge(self.retry, self.key.is_some(), &response, problem) {
                    Verdict::Give => {
                        response.extensions_mut().insert(Sent { key: self.key, attempts });
                        return Ok(response);
                    }
                    Verdict::Refused(kind) => return Err(ClientError::refused(kind, self.operation, response).into()),
                    Verdict::Again(told) => (Last::Answer(Box::new(response)), told),
                },
                Ok(Err(error)) if !may_pass(&error) => return Err(error),
                Ok(Err(error)) => (Last::Failed(error), None),
                Err(_) => (Last::TimedOut(limit), None),
            };
            let pause = self.retry.pause(attempts, told);
            let limit = match copy {
                None => Limit::Body,
                Some(_) if attempts >= self.retry.attempts => Limit::Attempts,
                Some(_) if pause >= left() => Limit::Time,
                Some(copy) => {
                    tracing::debug!(attempts, ?pause, status = last.status().map(|last| last.as_u16()), "asking again");
                    // The connection of an answer that nobody reads is not held meanwhile.
                    drop(last);
                    sleep(pause).await;
                    request = copy;
                    continue;
                }
            };
            return Err(ClientError::GaveUp(Box::new(GaveUp { limit, attempts, key: self.key, last })).into());
        }
    }

    /// Waits for the answer, as far as it is waited for, and for what problem it names.
    async fn attempt(
        &self,
        answer: impl Future<Output = Result<Response, Error>>,
    ) -> Result<(Response, Option<ProblemKind>), Error> {
        let response = answer.await?;
        if is_problem(&response) {
            let (response, body) = gather(response, LARGEST_PROBLEM).await?;
            let problem = body.and_then(|body| problem_of(response.status(), &body));
            return Ok((response, problem));
        }
        match response.content_length() {
            Some(length) if length > 0 && length <= self.whole => {
                let most = usize::try_from(length).unwrap_or(usize::MAX);
                Ok((gather(response, most).await?.0, None))
            }
            _ => Ok((response, None)),
        }
    }
}

/// Whether the error may be another one next time. Those of other middlewares are theirs to judge.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Middleware(_) => false,
        Error::Reqwest(error) => !(error.is_builder() || error.is_redirect() || error.is_status()),
    }
}
