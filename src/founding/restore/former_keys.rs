//! The keys of the former store, held against what its snapshot says of them.

use std::collections::BTreeMap;

use super::error::RestoreError;
use crate::founding::identity::{Identity, Stage};
use crate::founding::item::{Item, ItemName};
use crate::founding::material::{ContentError, Piece};
use crate::founding::vault::{Vault, VaultError};
use crate::lifecycle::command::Founded;
use crate::pki::TrustDomain;
use crate::token::{Fingerprint, StoreId};

/// The CAs, which are kept, and what else is known of the keys that were found.
#[derive(Debug)]
pub(super) struct FormerKeys {
    pub trust_domain: TrustDomain,
    /// All three, each the one that the snapshot names.
    pub cas: BTreeMap<ItemName, Item>,
    /// The greatest that any key says: the CAs may have been carried into a later store already.
    pub epoch: u64,
    /// The former store, and whichever the CAs have been carried into.
    pub stores: Vec<StoreId>,
    /// Of signing keys, which are made anew.
    pub notes: Vec<Mismatch>,
}

/// A key that is not what the snapshot says.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    #[error("the {item} is missing ({place})")]
    Missing { item: ItemName, place: String },
    #[error(
        "the {item} in {place} is of another store, {found} (fingerprint {fingerprint}, the former store had {expected})"
    )]
    OfOtherStore {
        item: ItemName,
        place: String,
        found: StoreId,
        fingerprint: Fingerprint,
        expected: Fingerprint,
    },
    #[error(
        "the {item} in {place} is another one (fingerprint {found}, the former store had {expected})"
    )]
    Other {
        item: ItemName,
        place: String,
        found: Fingerprint,
        expected: Fingerprint,
    },
    #[error("the former store names no {item}")]
    Unnamed { item: ItemName },
    #[error("the {item} in {place} cannot be used: {source}")]
    Damaged {
        item: ItemName,
        place: String,
        source: ContentError,
    },
    #[error("the {item} cannot be read: {source}")]
    Unreadable { item: ItemName, source: VaultError },
}

impl FormerKeys {
    /// Looks at everything in `vault`, changing nothing.
    pub async fn load(vault: &dyn Vault, former: &Founded) -> Result<Self, RestoreError> {
        let trust_domain = TrustDomain::parse(&former.trust_domain)
            .map_err(|_| RestoreError::TrustDomain(former.trust_domain.clone()))?;
        let identity = Identity {
            store_id: former.store_id,
            epoch: former.epoch,
            node_id: 0,
            trust_domain: trust_domain.clone(),
            stage: Stage::Founded,
        };
        let mut keys = Self {
            trust_domain,
            cas: BTreeMap::new(),
            epoch: 0,
            stores: vec![former.store_id],
            notes: Vec::new(),
        };
        let mut amiss = Vec::new();
        for name in ItemName::ALL {
            let is_ca = name.role().is_some();
            match look(vault, name, &identity, former).await {
                Ok(item) => {
                    keys.epoch = keys.epoch.max(item.epoch);
                    if is_ca {
                        keys.stores.push(item.store_id);
                        keys.cas.insert(name, item);
                    }
                }
                Err(mismatch) if is_ca => amiss.push(mismatch),
                Err(mismatch) => keys.notes.push(mismatch),
            }
        }
        if amiss.is_empty() {
            Ok(keys)
        } else {
            Err(RestoreError::Keys(amiss))
        }
    }
}

/// What the fingerprint says counts: a CA that an earlier restore has carried into another store is still the same.
async fn look(
    vault: &dyn Vault,
    item: ItemName,
    identity: &Identity,
    former: &Founded,
) -> Result<Item, Mismatch> {
    let place = vault.place(item);
    let loaded = vault.load(item).await;
    let there = match loaded.map_err(|source| Mismatch::Unreadable { item, source })? {
        Some(there) => there,
        None => return Err(Mismatch::Missing { item, place }),
    };
    let named = former
        .fingerprints
        .iter()
        .find(|(role, _)| role == item.as_str());
    let Some((_, expected)) = named else {
        return Err(Mismatch::Unnamed { item });
    };
    let found = match Piece::from_item(item, &there, identity) {
        Ok(piece) => piece.fingerprint(),
        Err(source) => {
            return Err(Mismatch::Damaged {
                item,
                place,
                source,
            });
        }
    };
    if found == *expected {
        return Ok(there);
    }
    let expected = *expected;
    Err(if there.store_id == former.store_id {
        Mismatch::Other {
            item,
            place,
            found,
            expected,
        }
    } else {
        Mismatch::OfOtherStore {
            item,
            place,
            found: there.store_id,
            fingerprint: found,
            expected,
        }
    })
}
