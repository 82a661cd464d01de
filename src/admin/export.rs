//! Exporting an offline key: derive it, have the store adopt it, and only then hand it out.

use std::sync::Arc;

use crate::lifecycle::command::AdoptKey;
use crate::lifecycle::outcome::AdoptKeyOutcome;
use crate::store::{StoreError, TokenStore, submit};
use crate::token::{
    Delivery, KeyId, OfflineKeyFile, OfflinePolicy, Purpose, RandomError, SigningKey,
};

/// Makes offline keys of one store.
pub struct KeyExporter {
    store: Arc<dyn TokenStore>,
    master: SigningKey,
    delivery: Delivery,
}

/// Why no key was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the store is not founded yet: try again")]
    NotFounded,
    #[error(
        "--max-ttl is longer than this store lets any token live ({limit_seconds} s): ask for less"
    )]
    TtlTooLong { limit_seconds: u64 },
    #[error("--max-ttl is zero: such a key could not mint anything")]
    NoTtl,
    #[error("{0}: try again")]
    Store(#[from] StoreError),
    #[error("the store did not adopt the key: {}", why(*.0))]
    NotAdopted(AdoptKeyOutcome),
    #[error(
        "the store has {keys} keys, and takes no more exported ones, none of which can be taken back: use one that was exported before. A store that is restored from a snapshot of its own begins with new keys, and has room again"
    )]
    Full { keys: usize },
    #[error("the key cannot be rendered: {0}")]
    Key(String),
    #[error(transparent)]
    Random(#[from] RandomError),
}

const fn why(outcome: AdoptKeyOutcome) -> &'static str {
    match outcome {
        AdoptKeyOutcome::Adopted | AdoptKeyOutcome::Known => "it knows it",
        AdoptKeyOutcome::Conflict => "it knows another by that name, or that one by another name",
        AdoptKeyOutcome::Refused => "its pattern is too long",
        AdoptKeyOutcome::Full => "there are as many as there can be",
        AdoptKeyOutcome::Retired => "a restore retired it",
    }
}

impl ExportError {
    /// The same request may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            // Another id is drawn the next time.
            Self::NotAdopted(AdoptKeyOutcome::Conflict)
                | Self::NotFounded
                | Self::Store(_)
                | Self::Random(_)
        )
    }
}

impl KeyExporter {
    /// Exports keys derived from `master`; their tokens carry `delivery`.
    pub fn new(store: Arc<dyn TokenStore>, master: SigningKey, delivery: Delivery) -> Self {
        Self {
            store,
            master,
            delivery,
        }
    }

    /// The keys that the store knows, as applied here.
    pub fn known(&self) -> Vec<AdoptKey> {
        self.store.keys()
    }

    /// A new offline key of this policy, known to the store before it is returned.
    ///
    /// # Errors
    /// See [`ExportError`]; a key that the store adopted but that was not returned mints nothing, since nobody has it.
    pub async fn export(&self, policy: OfflinePolicy) -> Result<OfflineKeyFile, ExportError> {
        let founded = self.store.founded().ok_or(ExportError::NotFounded)?;
        let limit_ms = self.store.settings().max_token_ttl_ms;
        if policy.max_ttl_ms > limit_ms {
            return Err(ExportError::TtlTooLong {
                limit_seconds: limit_ms / 1000,
            });
        }
        if policy.max_ttl_ms == 0 {
            return Err(ExportError::NoTtl);
        }
        let key = SigningKey::derive_offline(&self.master, KeyId::random()?, &policy);
        let adopt = AdoptKey {
            key_id: key.id(),
            purpose: Purpose::Offline,
            fingerprint: key.fingerprint(),
            max_ttl_ms: Some(policy.max_ttl_ms),
            node_pattern: Some(policy.node_pattern.to_string()),
        };
        match submit(&*self.store, adopt).await? {
            AdoptKeyOutcome::Adopted | AdoptKeyOutcome::Known => {}
            AdoptKeyOutcome::Full => {
                let keys = self.store.key_count();
                return Err(ExportError::Full { keys });
            }
            refused => return Err(ExportError::NotAdopted(refused)),
        }
        OfflineKeyFile::new(
            key,
            policy,
            founded.store_id.audience(),
            self.delivery.clone(),
        )
        .map_err(|error| ExportError::Key(error.to_string()))
    }
}
