//! Whether everything that a founding made is there and is what the store recorded.

use std::collections::BTreeMap;

use super::error::FoundingError;
use super::identity::Identity;
use super::item::ItemName;
use super::material::Piece;
use super::vault::{FoundingObject, Vault};
use crate::store::TokenStore;

/// Where the keys and the mark of the founding are.
pub(super) struct Checks<'a> {
    pub vault: &'a dyn Vault,
    pub object: Option<&'a dyn FoundingObject>,
}

impl Checks<'_> {
    /// Looks at everything.
    pub async fn all(
        &self,
        store: &dyn TokenStore,
        identity: &Identity,
    ) -> Result<(), FoundingError> {
        self.check_object(identity).await?;
        let pieces = self.load_items(identity).await?;
        self.check_record(store, identity, &pieces)
    }

    /// The mark must be there and be this store's.
    pub async fn check_object(&self, identity: &Identity) -> Result<(), FoundingError> {
        let Some(object) = self.object else {
            return Ok(());
        };
        let (place, ours) = (object.place(), identity.founding());
        match object.load().await? {
            Some(found) if found == ours => Ok(()),
            Some(found) => Err(FoundingError::OtherFounding { place, found, ours }),
            None => Err(FoundingError::ObjectMissing { place, ours }),
        }
    }

    /// Reads all items; each must be there and be this store's.
    pub async fn load_items(
        &self,
        identity: &Identity,
    ) -> Result<BTreeMap<ItemName, Piece>, FoundingError> {
        let mut pieces = BTreeMap::new();
        for item in ItemName::ALL {
            pieces.insert(item, self.load_item(item, identity).await?);
        }
        Ok(pieces)
    }

    /// Reads one item; it must be there and be this store's.
    pub async fn load_item(
        &self,
        item: ItemName,
        identity: &Identity,
    ) -> Result<Piece, FoundingError> {
        let place = self.vault.place(item);
        let Some(there) = self.vault.load(item).await? else {
            return Err(FoundingError::Missing {
                item,
                place,
                store_id: identity.store_id,
            });
        };
        if there.store_id != identity.store_id {
            return Err(FoundingError::OfOtherStore {
                item,
                place,
                found: there.store_id,
                expected: identity.store_id,
            });
        }
        Piece::from_item(item, &there, identity).map_err(|source| FoundingError::Damaged {
            item,
            place,
            source,
        })
    }

    /// What the store recorded at its founding must be what is there now.
    pub fn check_record(
        &self,
        store: &dyn TokenStore,
        identity: &Identity,
        pieces: &BTreeMap<ItemName, Piece>,
    ) -> Result<(), FoundingError> {
        let missing = || FoundingError::NoRecord(identity.store_id);
        let record = store.founded().ok_or_else(missing)?;
        if record.store_id != identity.store_id || record.epoch != identity.epoch {
            return Err(missing());
        }
        if record.trust_domain != identity.trust_domain.as_str() {
            return Err(FoundingError::TrustDomain {
                founded: record.trust_domain,
                configured: identity.trust_domain.to_string(),
            });
        }
        for (name, piece) in pieces {
            let recorded = record
                .fingerprints
                .iter()
                .find(|(role, _)| role == name.as_str());
            let (_, expected) = recorded.ok_or_else(missing)?;
            let found = piece.fingerprint();
            if *expected != found {
                return Err(FoundingError::Replaced {
                    item: *name,
                    place: self.vault.place(*name),
                    expected: *expected,
                    found,
                });
            }
        }
        Ok(())
    }
}
