//! How an operator ends an unknown attempt.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::codec::{self, AnyCodec, Codec, Replay, Unencodable};
use crate::error::StoreError;
use crate::key::Key;
use crate::lock::{Claim, Effect, defaults};
use crate::moves::{Acquired, Grant, Held};
use crate::record::{Completion, Omitted, Prior};
use crate::store::IdempotencyStore;
use crate::time::{InvalidDuration, checked};

/// What operators do with any store. Implemented for every [`IdempotencyStore`].
#[async_trait]
pub trait StoreExt: IdempotencyStore {
    /// Takes an unknown key over, to settle it: look what happened, then say so through
    /// [`Settling`].
    ///
    /// It is a takeover like any other, never a write past a lock: from here on the key is in
    /// progress under the operator's own lock, with a larger fence, for `at_most`.
    ///
    /// # Errors
    /// [`SettleError`] where the key is not unknown.
    async fn settle<'a>(&'a self, key: &'a Key, at_most: Duration) -> Result<Settling<'a, Self>, SettleError>
    where
        Self: Sized,
    {
        Settling::begin(self, key, at_most).await
    }
}

impl<S: IdempotencyStore> StoreExt for S {}

/// An unknown key under an operator's lock.
///
/// Dropped without a word, the key is unknown again once the lease is over.
#[derive(Debug)]
#[must_use = "the key stays unknown until one of the three ends is said"]
pub struct Settling<'a, S: ?Sized> {
    store: &'a S,
    key: &'a Key,
    grant: Grant,
    prior: Prior,
    /// For how long yet the unknown attempt would be remembered.
    remembered: Duration,
}

impl<'a, S: IdempotencyStore + ?Sized> Settling<'a, S> {
    async fn begin(store: &'a S, key: &'a Key, at_most: Duration) -> Result<Self, SettleError> {
        let lease = checked("time to settle a key in", at_most)?;
        let found = store.get(key).await?.ok_or(SettleError::NotUnknown)?;
        found.record.unknown_at(found.now).ok_or(SettleError::NotUnknown)?;
        // An operator's word must not be forgotten before what it is about: a duplicate that came
        // later would run.
        let remembered = found.now.until(found.record.forgotten_at());
        // The operator need not know the request: the record does. Its policy stays, whatever a claim that
        // settles says.
        let claim = Claim {
            settles: true,
            lease,
            unknown_retention: remembered.max(defaults::UNKNOWN_RETENTION),
            context: found.record.context,
            attributes: found.record.attributes,
            ..Claim::new(found.record.fingerprint)
        };
        match store.acquire_lock(key, &claim).await? {
            Acquired::Acquired(grant) => match grant.prior {
                Some(prior) => Ok(Self { store, key, grant, prior, remembered }),
                None => {
                    store.release_lock(key, &grant.lock, Effect::None).await?;
                    Err(SettleError::NotUnknown)
                }
            },
            Acquired::InProgress { .. }
            | Acquired::Completed(_)
            | Acquired::Mismatch
            | Acquired::Unknown { .. }
            | Acquired::Ended => Err(SettleError::NotUnknown),
        }
    }

    /// The unknown attempt, and with its fence what to ask the provider for.
    #[must_use]
    pub const fn prior(&self) -> Prior {
        self.prior
    }

    /// The attempt under which the operator looks.
    #[must_use]
    pub const fn grant(&self) -> Grant {
        self.grant
    }

    /// It surely had no effect, nor had any before it: the key is free.
    ///
    /// # Errors
    /// [`SettleError`]
    pub async fn had_no_effect(self) -> Result<(), SettleError> {
        held(self.store.release_lock(self.key, &self.grant.lock, Effect::Settled).await?)
    }

    /// It had its effect; a duplicate is told that it is done, without a value.
    ///
    /// # Errors
    /// [`SettleError`]
    pub async fn had_its_effect(self) -> Result<(), SettleError> {
        self.store_completion(Completion::Omitted(Omitted::Settled)).await
    }

    /// It had its effect, with this value to replay. `codec` must be the one that the service reads by.
    ///
    /// # Errors
    /// [`SettleError`]; where the value does not encode, nothing is stored.
    pub async fn had_its_effect_with<T: Replay + Sync>(self, codec: impl Codec, value: &T) -> Result<(), SettleError> {
        let sealed: Bytes =
            codec::encode(&AnyCodec::new(codec), self.key, value, defaults::RESULT_LIMIT).map_err(|why| match why {
                Unencodable::Codec(error) => SettleError::Value(Box::new(error)),
                Unencodable::TooLarge { bytes } => {
                    SettleError::Value(format!("{bytes} bytes are over the limit").into())
                }
            })?;
        self.store_completion(Completion::Value(sealed)).await
    }

    /// Nobody can tell yet: the key is unknown again, at once.
    ///
    /// # Errors
    /// [`SettleError`]
    pub async fn is_still_unknown(self) -> Result<(), SettleError> {
        // The operator's own attempt did nothing; what came before it stands.
        held(self.store.release_lock(self.key, &self.grant.lock, Effect::None).await?)
    }

    async fn store_completion(self, completion: Completion) -> Result<(), SettleError> {
        let retention = self.remembered.max(defaults::RETENTION);
        held(self.store.store_result(self.key, &self.grant.lock, &completion, retention).await?)
    }
}

const fn held(held: Held) -> Result<(), SettleError> {
    match held {
        Held::Held => Ok(()),
        Held::Lost => Err(SettleError::Lost),
    }
}

/// A key was not settled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The key is not unknown (any more): absent, running, free or done.
    #[error("the key is not unknown: there is nothing to settle")]
    NotUnknown,
    /// The time given is zero or overflows.
    #[error(transparent)]
    Duration(#[from] InvalidDuration),
    /// The lock was lost while the operator looked; nothing changed.
    #[error("the lock was lost before the key was settled; begin again")]
    Lost,
    /// The value does not encode.
    #[error("the value cannot be stored")]
    Value(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}
