//! The service.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::layer::Shared;
use super::request_body::RequestBody;
use super::response_body::ReplyBody;
use super::run;

/// A service whose requests run once a key; made by an [`IdempotencyLayer`](super::IdempotencyLayer).
#[derive(Clone, Debug)]
pub struct IdempotencyService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> IdempotencyService<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, Req, Res> Service<Request<Req>> for IdempotencyService<S>
where
    S: Service<Request<RequestBody<Req>>, Response = Response<Res>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Req: Body + Send + 'static,
    Req::Data: Send,
    Req::Error: Into<Box<dyn StdError + Send + Sync>>,
    Res: Body + Send + 'static,
    Res::Data: Send,
    Res::Error: Send,
{
    type Response = Response<ReplyBody<Res>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Res, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    /// A call that is dropped before the handler was first polled, such as while the request's body is
    /// gathered or another request with its key is waited for, has run nothing. Dropped later, the handler
    /// goes on in a task.
    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let Some(policy) = self.shared.policy(&parts) else {
            let request = Request::from_parts(parts, RequestBody::untouched(body));
            return ResponseFuture { kind: Kind::Passed { future: self.inner.call(request) } };
        };
        // The one that is ready must be used; the clone that takes its place is not.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let future = Box::pin(run::handle(ready, self.shared.clone(), policy, parts, body));
        ResponseFuture { kind: Kind::Handled { future } }
    }
}

type Handled<B, E> = Pin<Box<dyn Future<Output = Result<Response<ReplyBody<B>>, E>> + Send>>;

pin_project_lite::pin_project! {
    /// The response of an [`IdempotencyService`], to be awaited.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B: Body, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project_lite::pin_project! {
    #[project = KindProjected]
    enum Kind<F, B: Body, E> {
        Passed { #[pin] future: F },
        Handled { future: Handled<B, E> },
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ReplyBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjected::Passed { future } => {
                future.poll(cx).map(|done| done.map(|response| response.map(ReplyBody::passed)))
            }
            KindProjected::Handled { future } => future.as_mut().poll(cx),
        }
    }
}

impl<F, B: Body, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}
