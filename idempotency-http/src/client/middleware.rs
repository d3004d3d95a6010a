//! The middleware.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Extensions, HeaderName, HeaderValue, Method};
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use super::error::ClientError;
use super::key::{ClientKey, Operation, random};
use super::key_store::KeyStore;
use super::retry::Retry;
use super::send::Sending;
use crate::header::{HeaderKey, Reading};
use crate::names::IDEMPOTENCY_KEY;

/// How the header's value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// As a structured field's string, as the draft has it: `"abc"`.
    #[default]
    Quoted,
    /// Without quotes, for servers that take them for a part of the key: `abc`.
    Bare,
}

/// Gives each logical request a key, and sends it again with that key until there is an answer.
///
/// Clones share the store of keys.
#[derive(Clone, Debug)]
#[must_use = "a middleware does nothing until a client has it"]
pub struct IdempotencyMiddleware {
    header: HeaderName,
    spelling: Spelling,
    methods: Vec<Method>,
    retried: Vec<Method>,
    retry: Retry,
    keys: Option<Arc<dyn KeyStore>>,
    whole: u64,
}

impl Default for IdempotencyMiddleware {
    fn default() -> Self {
        Self::new()
    }
}

impl IdempotencyMiddleware {
    /// Keys for POST and PATCH, in `Idempotency-Key`, quoted; [`Retry::new`]; GET, HEAD, OPTIONS, PUT and
    /// DELETE are sent again without a key; answers up to 1 MiB are waited for; no store of keys.
    pub fn new() -> Self {
        Self {
            header: IDEMPOTENCY_KEY,
            spelling: Spelling::default(),
            methods: vec![Method::POST, Method::PATCH],
            retried: vec![Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE],
            retry: Retry::new(),
            keys: None,
            whole: 1024 * 1024,
        }
    }

    /// Writes the key into this header.
    pub fn with_header_name(self, header: HeaderName) -> Self {
        Self { header, ..self }
    }

    /// Writes it so.
    pub fn with_spelling(self, spelling: Spelling) -> Self {
        Self { spelling, ..self }
    }

    /// Makes keys for requests of these methods. A key that the caller gives is sent with any method.
    pub fn with_methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        Self { methods: methods.into_iter().collect(), ..self }
    }

    /// Sends requests of these methods again without a key, as they do the same when they come twice (RFC
    /// 9110, section 9.2.2). The server must hold to it.
    pub fn with_retried_without_key(self, methods: impl IntoIterator<Item = Method>) -> Self {
        Self { retried: methods.into_iter().collect(), ..self }
    }

    /// Sends again so often and for so long.
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Keeps the keys of [`Operation`]s in this store.
    pub fn with_key_store(self, keys: impl KeyStore) -> Self {
        Self { keys: Some(Arc::new(keys)), ..self }
    }

    /// Waits for the whole of an answer whose length is told and not over this, in bytes, so that one that
    /// breaks off is asked for again. A larger one is the caller's from its head on.
    pub fn with_whole_answers(self, bytes: u64) -> Self {
        Self { whole: bytes, ..self }
    }

    /// The key that a request is to have, from wherever it comes; `None` for none.
    async fn key_for(&self, method: &Method, extensions: &mut Extensions) -> Result<Option<Found>, ClientError> {
        if let Some(key) = extensions.get::<ClientKey>() {
            return Ok(Some(Found { key: key.clone().into_key(), operation: None }));
        }
        if let Some(operation) = extensions.get::<Operation>() {
            let name = operation.name().to_owned();
            let Some(keys) = &self.keys else { return Err(ClientError::NoKeyStore { operation: name }) };
            let key = keys.keep(&name, random()).await?;
            return Ok(Some(Found { key, operation: Some(name) }));
        }
        Ok(self.methods.contains(method).then(|| Found { key: random(), operation: None }))
    }

    fn value_of(&self, key: &HeaderKey) -> Result<HeaderValue, ClientError> {
        match self.spelling {
            Spelling::Quoted => Ok(key.to_value()),
            Spelling::Bare => key.to_bare_value().ok_or(ClientError::NotBare),
        }
    }
}

/// A key, and the name that it is kept under.
struct Found {
    key: HeaderKey,
    operation: Option<String>,
}

#[async_trait]
impl Middleware for IdempotencyMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let mut sending = Sending { retry: &self.retry, whole: self.whole, key: None, operation: None };
        if request.headers().contains_key(&self.header) {
            // The caller's own, sent as it is: what is wrong with it is the server's to say.
            sending.key =
                HeaderKey::read(request.headers().get_all(&self.header), Reading::Lenient).unwrap_or_default();
        } else if let Some(Found { key, operation }) = self.key_for(request.method(), extensions).await? {
            let value = self.value_of(&key)?;
            request.headers_mut().insert(self.header.clone(), value);
            (sending.key, sending.operation) = (Some(key), operation);
        }
        // A header without a key is none either: who does not read it would carry the request out twice.
        if sending.key.is_none() && !self.retried.contains(request.method()) {
            return next.run(request, extensions).await;
        }
        sending.send(request, extensions, next).await
    }
}
