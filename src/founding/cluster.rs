//! The keys and the mark of a cluster's store, given to a new store in the place of a former one.
//!
//! The mark goes first: whatever still runs of the former store sees it within seconds and issues nothing any more, and of
//! two that do this at once one finds the mark changed. Every step may be repeated.

use std::fmt;
use std::sync::Arc;

use super::item::{Item, ItemName};
use super::told::ToldEpochs;
use super::vault::{
    Creation, ExchangeObject, ExchangeVault, FormerEpoch, FormerEpochs, Founding, VaultError,
};

/// Where the keys of a cluster's store are, its mark, and what tells of former stores.
#[derive(Clone)]
pub struct Cluster {
    pub vault: Arc<dyn ExchangeVault>,
    pub object: Arc<dyn ExchangeObject>,
    pub former: Arc<dyn FormerEpochs>,
}

/// Why a cluster's keys and mark are not given to another store.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The mark is of a store that has nothing to do with this.
    #[error(
        "{place} names store {} in epoch {}, and not {}: it was founded, restored or replaced meanwhile, or this is the wrong namespace",
        .found.store_id, .found.epoch, said(.expected)
    )]
    OtherFounding {
        place: String,
        found: Founding,
        expected: Option<Founding>,
    },
    /// Something makes keys here at the same time.
    #[error(
        "the {item} was made anew while it was being exchanged ({place}): stop whatever does that, and run this again"
    )]
    Contended { item: ItemName, place: String },
    #[error(transparent)]
    Vault(#[from] VaultError),
}

fn said(expected: &Option<Founding>) -> String {
    match expected {
        Some(founding) => format!("store {}", founding.store_id),
        None => "none at all, as before".to_owned(),
    }
}

impl Cluster {
    /// The greatest epoch that the mark or a status tells of. `known`: the greatest that is known from elsewhere.
    pub(super) async fn told_epochs(&self, known: u64) -> Result<ToldEpochs, VaultError> {
        let marked = self.object.load().await?.map_or(0, |found| found.epoch);
        let mut told = self.former.greatest(known.max(marked)).await?;
        if marked > told.greatest.epoch {
            told.greatest = FormerEpoch {
                epoch: marked,
                place: self.object.place(),
            };
        }
        Ok(told)
    }

    /// Has the mark say `ours`, where it said `before`. Only by exchanging it what the former store looked after becomes ours:
    /// where there is no mark to exchange, that one may live elsewhere and not know of this.
    pub(super) async fn mark(
        &self,
        before: Option<Founding>,
        ours: Founding,
    ) -> Result<(), ClusterError> {
        let found = match (self.object.load().await?, before) {
            (Some(found), _) if found == ours => return Ok(()),
            // It has vanished meanwhile, or was never there: it says nothing else.
            (None, _) => self.object.create(ours).await?,
            (Some(found), Some(before)) if found == before => {
                self.object.exchange(before, ours).await?
            }
            (Some(found), _) => Creation::Exists(found),
        };
        match found {
            Creation::Created => Ok(()),
            Creation::Exists(found) if found == ours => Ok(()),
            Creation::Exists(found) => Err(ClusterError::OtherFounding {
                place: self.object.place(),
                found,
                expected: before,
            }),
        }
    }

    /// Takes an item away that is not of this store.
    pub(super) async fn clear(&self, name: ItemName, ours: Founding) -> Result<(), ClusterError> {
        match self.vault.load(name).await? {
            Some(there) if there.store_id != ours.store_id => {
                Ok(self.vault.remove(name, &there).await?)
            }
            _ => Ok(()),
        }
    }

    /// Whether an item of this store is there.
    pub(super) async fn has(&self, name: ItemName, ours: Founding) -> Result<bool, ClusterError> {
        let there = self.vault.load(name).await?;
        Ok(there.is_some_and(|there| there.store_id == ours.store_id))
    }

    /// Puts an item in the place that was cleared.
    pub(super) async fn put(&self, name: ItemName, item: &Item) -> Result<(), ClusterError> {
        match self.vault.create(name, item).await? {
            Creation::Created => Ok(()),
            Creation::Exists(there) if there == *item => Ok(()),
            Creation::Exists(_) => Err(ClusterError::Contended {
                item: name,
                place: self.vault.place(name),
            }),
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("object", &self.object.place())
            .finish_non_exhaustive()
    }
}
