//! The layer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use idempotency_core::{Idempotency, StillRunning};
use tower_layer::Layer;

use super::page::PolicyPage;
use super::policy::Policy;
use super::service::IdempotencyService;

/// Runs the requests of a service once a key, over any store.
///
/// Cloning is cheap and shares everything.
///
/// ```
/// use axum::{Router, routing::post};
/// use idempotency_http::server::{IdempotencyLayer, Policy};
///
/// # fn app(idempotency: idempotency_core::Idempotency) -> Router {
/// let policy = Policy::new().with_scope(|request| request.extensions.get::<Account>().map(|account| account.0.clone()));
/// let once = IdempotencyLayer::new(idempotency).with_policy(policy);
/// Router::new().route("/payments", post(async || "paid")).layer(once) // and authentication after it, around it
/// # }
/// # #[derive(Clone)]
/// # struct Account(String);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put on a service"]
pub struct IdempotencyLayer {
    pub(super) shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) idempotency: Idempotency,
    policies: Policies,
}

type Choose = Arc<dyn Fn(&Parts) -> Option<Arc<Policy>> + Send + Sync>;

#[derive(Clone)]
enum Policies {
    One(Arc<Policy>),
    ByRequest(Choose),
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(policy) => policy.fmt(f),
            Self::ByRequest(_) => f.write_str("by request"),
        }
    }
}

impl Shared {
    /// The policy for a request; `None` where it passes as it is.
    pub(super) fn policy(&self, parts: &Parts) -> Option<Arc<Policy>> {
        let policy = match &self.policies {
            Policies::One(policy) => Some(policy.clone()),
            Policies::ByRequest(choose) => choose(parts),
        };
        policy.filter(|policy| policy.applies_to(&parts.method))
    }
}

impl IdempotencyLayer {
    /// A layer with the [default policy](Policy::new).
    pub fn new(idempotency: Idempotency) -> Self {
        Self { shared: Arc::new(Shared { idempotency, policies: Policies::One(Arc::new(Policy::new())) }) }
    }

    fn with(&self, policies: Policies) -> Self {
        Self { shared: Arc::new(Shared { idempotency: self.shared.idempotency.clone(), policies }) }
    }

    /// Sets the policy. For routes with policies of their own, put a layer with each on its route.
    pub fn with_policy(self, policy: Policy) -> Self {
        self.with(Policies::One(Arc::new(policy)))
    }

    /// Chooses the policy by the request's head; a request for which this gives `None` passes as it is.
    pub fn with_policy_of(self, choose: impl Fn(&Parts) -> Option<Arc<Policy>> + Send + Sync + 'static) -> Self {
        self.with(Policies::ByRequest(Arc::new(choose)))
    }

    /// Waits until all handlers that run are done, also those whose clients have gone; for a graceful
    /// shutdown, once no more requests are taken.
    ///
    /// # Errors
    /// [`StillRunning`] after `limit`.
    pub async fn drain(&self, limit: Duration) -> Result<(), StillRunning> {
        self.shared.idempotency.drain(limit).await
    }

    /// The page that publishes the policy, for these routes (`"POST /payments"`); `None` where the policy is
    /// chosen by the request: then put a [`PolicyPage`] together by hand.
    pub fn policy_page<'a>(&self, routes: impl IntoIterator<Item = &'a str>) -> Option<PolicyPage> {
        match &self.shared.policies {
            Policies::One(policy) => Some(PolicyPage::new(&self.shared.idempotency).with_policy(routes, policy)),
            Policies::ByRequest(_) => None,
        }
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = IdempotencyService<S>;

    fn layer(&self, inner: S) -> IdempotencyService<S> {
        IdempotencyService::new(inner, self.shared.clone())
    }
}
