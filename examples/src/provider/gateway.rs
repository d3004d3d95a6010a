//! The service's way to its payment provider; tells apart "not done" and "nobody knows".

use std::net::SocketAddr;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::ledger::{Entry, Instruction};
use crate::client::{self, NoReply, Reply};

/// Asks a provider, over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Gateway {
    provider: SocketAddr,
}

/// What the provider answered. A decline is an answer, not an error: it is final, and is replayed.
#[derive(Debug)]
pub enum Answered {
    /// Money moved, now or before under the same key.
    Done(Entry),
    /// It will not, and why.
    Declined(String),
}

/// The provider did not do it, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Surely no money moved.
    #[error("the provider did nothing: {0}")]
    NothingDone(String),
    /// Nor did it here: a later attempt has the key.
    #[error("the provider did nothing, as a later attempt had come before this one")]
    Barred,
    /// It may have moved.
    #[error("the provider's answer was lost, and nobody knows whether it moved the money: {0}")]
    AnswerLost(String),
}

impl Gateway {
    /// A way to the provider that listens there.
    pub const fn new(provider: SocketAddr) -> Self {
        Self { provider }
    }

    /// Has money moved.
    pub async fn carry_out(&self, instruction: &Instruction) -> Result<Answered, GatewayError> {
        self.ask(&Asked { instruction, reference: None, decline: false }).await
    }

    /// Has the provider decline, as with a test card.
    pub async fn decline(&self, instruction: &Instruction) -> Result<Answered, GatewayError> {
        self.ask(&Asked { instruction, reference: None, decline: true }).await
    }

    /// Has money moved, with a reference in the provider's books to find it by.
    pub async fn carry_out_noting(&self, instruction: &Instruction, reference: &str) -> Result<Answered, GatewayError> {
        self.ask(&Asked { instruction, reference: Some(reference), decline: false }).await
    }

    async fn ask(&self, asked: &Asked<'_>) -> Result<Answered, GatewayError> {
        let reply = client::post(self.provider, "/transactions", asked).send().await?;
        match reply.status {
            StatusCode::CREATED | StatusCode::OK => read(&reply).map(Answered::Done),
            StatusCode::PAYMENT_REQUIRED => {
                let why: Value = read(&reply)?;
                Ok(Answered::Declined(why["declined"].as_str().unwrap_or("no reason given").into()))
            }
            StatusCode::CONFLICT => Err(GatewayError::Barred),
            StatusCode::SERVICE_UNAVAILABLE => Err(GatewayError::NothingDone("it is out of order".into())),
            other => Err(GatewayError::AnswerLost(format!("it answered {other}"))),
        }
    }

    /// What was done under a key. From now on the provider does nothing for attempts before the one
    /// with this fence, so that what was not found cannot appear later.
    pub async fn look(&self, key: &str, fence: u64) -> Result<Option<Entry>, GatewayError> {
        self.found(&format!("/transactions?key={key}&fence={fence}")).await
    }

    /// What was done under a key so far. It bars nobody: for who knows that nothing more is on its way.
    pub async fn made(&self, key: &str) -> Result<Option<Entry>, GatewayError> {
        self.found(&format!("/transactions?key={key}")).await
    }

    async fn found(&self, path: &str) -> Result<Option<Entry>, GatewayError> {
        let reply = client::get(self.provider, path).send().await?;
        match reply.status {
            StatusCode::OK => Ok(read::<Vec<Entry>>(&reply)?.pop()),
            StatusCode::CONFLICT => Err(GatewayError::Barred),
            other => Err(GatewayError::AnswerLost(format!("it answered {other}"))),
        }
    }

    /// A transaction of the provider's, if it knows of one with this id.
    pub async fn transaction(&self, id: &str) -> Result<Option<Entry>, GatewayError> {
        let reply = client::get(self.provider, &format!("/transactions/{id}")).send().await?;
        match reply.status {
            StatusCode::OK => read(&reply).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(GatewayError::AnswerLost(format!("it answered {other}"))),
        }
    }
}

#[derive(Serialize)]
struct Asked<'a> {
    #[serde(flatten)]
    instruction: &'a Instruction,
    reference: Option<&'a str>,
    decline: bool,
}

fn read<T: serde::de::DeserializeOwned>(reply: &Reply) -> Result<T, GatewayError> {
    reply.json().map_err(|error| GatewayError::AnswerLost(format!("its answer cannot be read: {error}")))
}

impl From<NoReply> for GatewayError {
    fn from(no: NoReply) -> Self {
        match no {
            NoReply::NotSent(why) => Self::NothingDone(why),
            NoReply::Lost(why) => Self::AnswerLost(why),
        }
    }
}
