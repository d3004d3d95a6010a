//! The service's way to its payment provider; tells apart "not done" and "nobody knows".

use std::net::SocketAddr;

use axum::http::StatusCode;
use serde_json::Value;

use crate::http::{self, NoReply, Reply};
use crate::ledger::{Entry, Instruction};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Gateway {
    provider: SocketAddr,
}

/// What the provider answered. A decline is an answer, not an error: it is final, and is replayed.
#[derive(Debug)]
pub(crate) enum Answered {
    Done(Entry),
    Declined(String),
}

/// The provider did not do it, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    #[error("the provider did nothing: {0}")]
    NothingDone(String),
    #[error("the provider did nothing, as a later attempt had come before this one")]
    Barred,
    #[error("the provider's answer was lost, and nobody knows whether it moved the money: {0}")]
    AnswerLost(String),
}

impl Gateway {
    pub(crate) const fn new(provider: SocketAddr) -> Self {
        Self { provider }
    }

    /// Has money moved.
    pub(crate) async fn carry_out(&self, instruction: &Instruction) -> Result<Answered, GatewayError> {
        let reply = http::post(self.provider, "/transactions", instruction).send().await?;
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
    pub(crate) async fn look(&self, key: &str, fence: u64) -> Result<Option<Entry>, GatewayError> {
        let reply = http::get(self.provider, &format!("/transactions?key={key}&fence={fence}")).send().await?;
        match reply.status {
            StatusCode::OK => Ok(read::<Vec<Entry>>(&reply)?.pop()),
            StatusCode::CONFLICT => Err(GatewayError::Barred),
            other => Err(GatewayError::AnswerLost(format!("it answered {other}"))),
        }
    }

    /// A transaction of the provider's, if it knows of one with this id.
    pub(crate) async fn transaction(&self, id: &str) -> Result<Option<Entry>, GatewayError> {
        let reply = http::get(self.provider, &format!("/transactions/{id}")).send().await?;
        match reply.status {
            StatusCode::OK => read(&reply).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(GatewayError::AnswerLost(format!("it answered {other}"))),
        }
    }
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
