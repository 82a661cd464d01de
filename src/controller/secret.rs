//! The Secret that hands a token over: what is in it, and whose a Secret is.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::api::{JoinToken, is_resource_name};
use crate::token::{Claims, JoinTokenString, MintError, Purpose, StoreId, TokenId, mint};

use super::config::Minting;

/// The type of our Secrets.
const TYPE: &str = "jointoken.io/join-token";
/// Names the token that is in the Secret, for those who may not read it.
const TOKEN_ID: &str = "jointoken.io/token-id";
/// Names the store that the token was minted for.
const STORE_ID: &str = "jointoken.io/store-id";
/// Marks what the operator made; nothing is taken over from the resource's own labels, which may
/// tell other controllers to copy or to delete what carries them.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "jointoken");

/// Which claims a token makes, apart from what every token of the store has in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Minted<'a> {
    pub token_id: TokenId,
    pub node_name: &'a str,
    pub issued_at_ms: u64,
    pub expires_at_ms: u64,
}

/// What a token's Secret holds. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretContent {
    token_id: TokenId,
    store_id: StoreId,
    data: BTreeMap<String, Vec<u8>>,
}

impl SecretContent {
    /// The token that it hands over.
    pub const fn token_id(&self) -> TokenId {
        self.token_id
    }

    /// Renders the token and what goes with it: the same bytes each time.
    pub(super) fn render(
        minting: &Minting,
        store_id: StoreId,
        minted: Minted<'_>,
    ) -> Result<Self, MintError> {
        let claims = Claims {
            purpose: Purpose::Resource,
            key_id: minting.key.id(),
            audience: store_id.audience(),
            token_id: minted.token_id,
            node_name: minted.node_name.to_owned(),
            issued_at_ms: minted.issued_at_ms,
            expires_at_ms: minted.expires_at_ms,
        };
        let token: JoinTokenString = mint(&minting.key, &claims, &minting.delivery)?;
        let url = minting.delivery.urls.join("\n");
        let data = [
            ("token", token.expose().as_bytes().to_vec()),
            ("ca.crt", minting.door_ca_pem.clone().into_bytes()),
            ("url", url.into_bytes()),
            ("join-command", JOIN_COMMAND.as_bytes().to_vec()),
        ];
        Ok(Self {
            token_id: minted.token_id,
            store_id,
            data: data.map(|(key, value)| (key.to_owned(), value)).into(),
        })
    }

    /// The Secret that carries this for the resource; `None` for a resource that no API server has seen.
    pub(super) fn secret(&self, resource: &JoinToken, name: &str) -> Option<Secret> {
        let data = self
            .data
            .iter()
            .map(|(key, value)| (key.clone(), ByteString(value.clone())));
        let label = (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        let annotations = [
            (TOKEN_ID.to_owned(), self.token_id.to_string()),
            (STORE_ID.to_owned(), self.store_id.to_string()),
        ];
        Some(Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: resource.namespace(),
                owner_references: Some(vec![resource.controller_owner_ref(&())?]),
                annotations: Some(annotations.into()),
                labels: Some([label].into()),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            immutable: Some(true),
            data: Some(data.collect()),
            ..Secret::default()
        })
    }
}

impl fmt::Debug for SecretContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretContent")
            .field("token_id", &self.token_id)
            .finish_non_exhaustive()
    }
}

/// Reads the token from a file: an argument would be seen by everybody on the machine.
const JOIN_COMMAND: &str = "jointoken join --token-file ./token --out ./bundle\n";

/// What stands where a token's Secret is to be.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSeen {
    /// Nobody looked, since nothing depends on it.
    NotLookedAt,
    Absent,
    /// The operator made it for this resource.
    Ours {
        uid: String,
        holds: Holding,
    },
    /// The operator made it for a former resource of this name: the garbage collector will take it, or was told to leave it.
    Former {
        uid: String,
    },
    /// The operator made it, it is being deleted, and something holds it.
    Held,
    /// The operator made it for another resource, of this name.
    Others {
        owner: String,
    },
    /// Somebody else's: never touched.
    Foreign,
}

/// What one of our Secrets holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Holding {
    token_id: Option<String>,
    data: BTreeMap<String, Vec<u8>>,
}

impl Holding {
    /// It holds exactly this.
    pub fn is(&self, content: &SecretContent) -> bool {
        self.data == content.data && self.is_of(content.token_id)
    }

    /// It holds this token, perhaps with other URLs.
    pub fn is_of(&self, token_id: TokenId) -> bool {
        self.token_id.as_deref() == Some(&token_id.to_string())
    }
}

impl SecretSeen {
    /// Tells whose this Secret is, as seen from the resource.
    pub(super) fn of(secret: Option<&Secret>, resource: &JoinToken) -> Self {
        let Some(secret) = secret else {
            return Self::Absent;
        };
        // An owner can be added to any Secret, by a tool or by mistake; its type is fixed at its creation.
        if secret.type_.as_deref() != Some(TYPE) {
            return Self::Foreign;
        }
        let uid = secret.uid().unwrap_or_default();
        let api_version = JoinToken::api_version(&());
        let group = api_version.split('/').next().unwrap_or_default();
        // There is at most one controller.
        let owner = secret.owner_references().iter().find(|owner| {
            owner.controller == Some(true)
                && owner.api_version.split('/').next() == Some(group)
                && owner.kind == JoinToken::kind(&())
        });
        match owner {
            Some(owner) if Some(&owner.name) != resource.meta().name.as_ref() => {
                // Anybody who may write Secrets may write an owner; a name no resource can have is not repeated.
                match is_resource_name(&owner.name) {
                    true => Self::Others {
                        owner: owner.name.clone(),
                    },
                    false => Self::Foreign,
                }
            }
            Some(_) if secret.meta().deletion_timestamp.is_some() => Self::Held,
            Some(owner) if Some(&owner.uid) == resource.meta().uid.as_ref() => Self::Ours {
                uid,
                holds: Holding {
                    token_id: secret.annotations().get(TOKEN_ID).cloned(),
                    data: secret
                        .data
                        .iter()
                        .flatten()
                        .map(|(key, value)| (key.clone(), value.0.clone()))
                        .collect(),
                },
            },
            Some(_) => Self::Former { uid },
            None => Self::Foreign,
        }
    }

    /// The uid and the token of a Secret that the operator made and that was left behind without its owner, as
    /// `kubectl delete --cascade=orphan` leaves it. Whether the token was this resource's, the store knows.
    pub(super) fn left_behind(secret: &Secret) -> Option<(String, TokenId)> {
        let label = secret.labels().get(MANAGED_BY.0);
        let is_of_our_making = secret.type_.as_deref() == Some(TYPE)
            && secret.immutable == Some(true)
            && label.is_some_and(|by| by == MANAGED_BY.1)
            && secret.owner_references().is_empty()
            && secret.meta().deletion_timestamp.is_none();
        let token_id = secret.annotations().get(TOKEN_ID)?.parse().ok()?;
        is_of_our_making.then(|| (secret.uid().unwrap_or_default(), token_id))
    }
}

impl fmt::Debug for SecretSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLookedAt => f.write_str("NotLookedAt"),
            Self::Absent => f.write_str("Absent"),
            Self::Ours { uid, .. } => write!(f, "Ours({uid})"),
            Self::Former { uid } => write!(f, "Former({uid})"),
            Self::Held => f.write_str("Held"),
            Self::Others { owner } => write!(f, "Others({owner})"),
            Self::Foreign => f.write_str("Foreign"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::JoinTokenSpec;

    /// It is told in conditions and events.
    #[test]
    fn an_owners_name_that_no_resource_can_have_is_not_repeated() {
        let resource = JoinToken::new("n1", JoinTokenSpec::default());
        let seen = |owner: &str| {
            let secret = json!({
                "type": TYPE,
                "metadata": { "name": "n1-join-token", "uid": "u", "ownerReferences": [{
                    "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken", "controller": true,
                    "name": owner, "uid": "u",
                }] },
            });
            let secret = serde_json::from_value(secret).unwrap();
            SecretSeen::of(Some(&secret), &resource)
        };
        let owner = "n2.edge".to_owned();
        assert_eq!(seen(&owner), SecretSeen::Others { owner });
        for odd in ["n2\nall is well", "N2", "", "n2 ", &"n".repeat(254)] {
            assert_eq!(seen(odd), SecretSeen::Foreign, "{odd}");
        }
    }
}
