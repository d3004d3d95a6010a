//! Who asks: a token for each user. Keys are scoped to the user that it names, and not to what a request says.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use idempotency_examples::problem::Problem;

/// Opens events, runs jobs and reads the audit trail.
const OPERATOR: &str = "operator";

/// Who is asked to be known, unless `--tokens` says otherwise.
pub(crate) const TO_TRY: &str = "alice=alice-token,bob=bob-token,operator=operator-token";

/// The user whose token came with a request, among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct User(pub(crate) String);

impl User {
    pub(crate) fn must_be_operator(&self) -> Result<(), Problem> {
        if self.0 == OPERATOR {
            return Ok(());
        }
        Err(Problem::new(StatusCode::FORBIDDEN, "not-an-operator", "this is for the operator's token"))
    }
}

/// The users by their tokens.
#[derive(Clone, Debug)]
pub(crate) struct Tokens(Arc<HashMap<String, User>>);

impl Tokens {
    /// Reads `NAME=TOKEN,…`.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let user_of = |pair: &str| {
            let (name, token) = pair.split_once('=').filter(|(name, token)| !name.is_empty() && !token.is_empty())?;
            Some((token.to_owned(), User(name.to_owned())))
        };
        let mut users = HashMap::new();
        for pair in text.split(',') {
            let (token, user) = user_of(pair).ok_or("--tokens takes NAME=TOKEN,NAME=TOKEN,…")?;
            // Else it would not be known who of the two asks.
            if users.insert(token, user).is_some() {
                return Err("--tokens: two users have the same token".to_owned());
            }
        }
        Ok(Self(Arc::new(users)))
    }
}

/// Lets only those through who have a token, and says who it is.
pub(crate) async fn authenticate(State(Tokens(users)): State<Tokens>, mut request: Request, next: Next) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok());
    let Some(user) = sent.and_then(|sent| sent.strip_prefix("Bearer ")).and_then(|token| users.get(token)) else {
        let detail = "send a user's token, as `Authorization: Bearer …`";
        let mut response = Problem::new(StatusCode::UNAUTHORIZED, "token-missing", detail).into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    };
    request.extensions_mut().insert(user.clone());
    next.run(request).await
}
