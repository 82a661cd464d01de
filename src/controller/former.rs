//! What a status tells of a former founding of the store, and what the store has to be told of it.
//!
//! A restored store knows what its snapshot knew, and one that was founded anew knows nothing. A status that was
//! written by a former store may know more: it is imported, and then ends what it tells of, never more.

use sha2::{Digest, Sha256};

use crate::api::JoinToken;
use crate::lifecycle::Issuance;
use crate::lifecycle::command::{Bindings, Register};
use crate::token::TokenId;

use super::frozen;
use super::ownership::Owner;
use super::standing::InForce;
use super::view::{View, issuance_of};

/// Separates these names from every other use of SHA-256.
const NAME_DOMAIN: &[u8] = b"jointoken import v1";

/// The issuance that a status of a former store tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub revision: u64,
    pub reissue: u32,
    token_id: Option<String>,
}

impl Told {
    /// What the resource's status tells of a store before this one.
    pub fn of(view: &View<'_>) -> Option<Self> {
        let resource = &view.resource;
        let status = resource.status.as_ref()?;
        // A store that was set back is to itself as it was a former one.
        let is_former = view.owner() == Owner::Former || view.status_ahead;
        if !is_former {
            return None;
        }
        // A place in the log without the token: somebody took that out of the status. The place cannot be taken out.
        let tells = status.token_id.is_some() || status.store_index.is_some_and(|index| index > 0);
        tells.then(|| Self {
            revision: status.revision.unwrap_or(resource.spec.revision),
            reissue: status.reissues.unwrap_or(0),
            token_id: status.token_id.clone(),
        })
    }

    /// The store holds an earlier state, or none.
    pub fn is_beyond(&self, in_force: Option<&InForce>) -> bool {
        // Of the same revision there is an issuance that the store will not repeat by itself.
        in_force.is_none_or(|in_force| self.revision > in_force.revision)
    }

    /// The store holds an earlier token of the same revision, which has ended: this one it will never know.
    pub fn is_reissue_of(&self, in_force: &InForce) -> bool {
        self.revision == in_force.revision && self.reissue > in_force.reissue
    }

    /// A live token cannot be the one after what is told: what is told was not known when it was issued.
    pub fn contradicts(&self, in_force: &InForce) -> bool {
        (self.revision, self.reissue) >= (in_force.revision, in_force.reissue)
            && self.token_id != Some(in_force.token_id.to_string())
    }
}

/// The registration by which the store comes to know what is told. The token that it makes is ended at once and never
/// minted: its name is none that anybody could have chosen, so that an edited status touches nobody else's token.
pub(super) fn import(view: &View<'_>, told: &Told) -> Register {
    let issuance = issuance_of(&view.resource);
    Register {
        token_id: import_id(&issuance, told.token_id.as_deref()),
        issuance,
        namespace_uid: view.namespace_uid.clone(),
        revision: told.revision,
        spec_hash: frozen::spec_hash(&view.resource),
        revoked: false,
        reissue_if_unused: false,
        key_id: view.minting.key.id(),
        node_name: view.resource.node_name(),
        // Only if it is stopped before it is ended, and then ended at the next look: as long as can be.
        ttl_ms: view.store.max_token_ttl_ms,
        in_flight_timeout_ms: None,
        max_claims: None,
        bindings: Bindings::default(),
    }
}

/// What is in force came of this very status.
pub(super) fn is_import(view: &View<'_>, in_force: &InForce) -> bool {
    is_import_of(&view.resource, in_force)
}

/// What is in force came of the status of this resource.
pub(super) fn is_import_of(resource: &JoinToken, in_force: &InForce) -> bool {
    let status = resource.status.as_ref();
    let token_id = status.and_then(|status| status.token_id.as_deref());
    in_force.token_id == import_id(&issuance_of(resource), token_id)
}

fn import_id(issuance: &Issuance, token_id: Option<&str>) -> TokenId {
    let mut hash = Sha256::new_with_prefix(NAME_DOMAIN);
    for part in [
        &*issuance.namespace,
        &*issuance.name,
        token_id.unwrap_or_default(),
    ] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    TokenId(id)
}
