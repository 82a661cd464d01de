//! The keys that the door verifies by: those of this process, as far as the store has adopted them.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::lifecycle::command::AdoptKey;
use crate::lifecycle::outcome::AdoptKeyOutcome;
use crate::store::{StoreError, TokenStore, submit};
use crate::token::{KeyRing, OfflinePolicy, Purpose, SigningKey};

/// What this process can verify by.
pub struct KeySource {
    /// Resource keys, in the vault.
    pub resource: Vec<SigningKey>,
    /// All exported keys derive from it.
    pub offline_master: SigningKey,
    /// NodeDB secrets, configured.
    pub nodedb: Vec<SigningKey>,
}

impl KeySource {
    /// The ring for what the store has adopted. A key that the store knows by another fingerprint, or
    /// that is not here, is left out: its tokens are refused.
    fn ring(&self, adopted: &[AdoptKey]) -> KeyRing {
        let mut ring = KeyRing::new();
        for known in adopted {
            let inserted = match self.key(known) {
                Some((key, Some(policy))) => ring.insert_offline(key, policy),
                Some((key, None)) => ring.insert(key),
                None => {
                    tracing::warn!(
                        key_id = %known.key_id,
                        purpose = known.purpose.as_str(),
                        "a key that the store knows is not here; its tokens are refused"
                    );
                    continue;
                }
            };
            if let Err(error) = inserted {
                tracing::warn!(key_id = %known.key_id, %error, "a key cannot be used");
            }
        }
        ring
    }

    fn key(&self, known: &AdoptKey) -> Option<(SigningKey, Option<OfflinePolicy>)> {
        let (key, policy) = match known.purpose {
            Purpose::Resource => (find(&self.resource, known)?, None),
            Purpose::NodeDb => (find(&self.nodedb, known)?, None),
            Purpose::Offline => {
                let policy = OfflinePolicy {
                    node_pattern: known.node_pattern.as_ref()?.parse().ok()?,
                    max_ttl_ms: known.max_ttl_ms?,
                };
                let key = SigningKey::derive_offline(&self.offline_master, known.key_id, &policy);
                (key, Some(policy))
            }
        };
        (key.fingerprint() == known.fingerprint).then_some((key, policy))
    }

    /// The ring as of now, and a task that renews it whenever the store adopts another key, until the
    /// store is gone.
    pub fn follow(
        self,
        store: Arc<dyn TokenStore>,
    ) -> (watch::Receiver<Arc<KeyRing>>, impl Future<Output = ()>) {
        let mut health = store.health();
        // Counted before they are read: a key that comes in between is read again.
        let mut adopted = store.key_count();
        let (publish, ring) = watch::channel(Arc::new(self.ring(&store.keys())));
        let renew = async move {
            while health.changed().await.is_ok() {
                // None goes, and of one that is known nothing changes that the ring goes by.
                let now = store.key_count();
                if now != adopted {
                    publish.send_replace(Arc::new(self.ring(&store.keys())));
                    adopted = now;
                }
            }
        };
        (ring, renew)
    }
}

/// Makes a configured NodeDB secret known to the store; its tokens live at most so many milliseconds.
///
/// # Errors
/// One line that says what to do.
pub async fn adopt_nodedb(
    store: &dyn TokenStore,
    secret: &SigningKey,
    max_ttl_ms: u64,
) -> Result<(), AdoptError> {
    let adopt = AdoptKey {
        key_id: secret.id(),
        purpose: Purpose::NodeDb,
        fingerprint: secret.fingerprint(),
        max_ttl_ms: Some(max_ttl_ms),
        node_pattern: None,
    };
    match submit(store, adopt).await? {
        AdoptKeyOutcome::Adopted | AdoptKeyOutcome::Known => Ok(()),
        AdoptKeyOutcome::Retired => Err(AdoptError::Retired),
        AdoptKeyOutcome::Conflict => Err(AdoptError::Conflict),
        AdoptKeyOutcome::Refused | AdoptKeyOutcome::Full => Err(AdoptError::Full),
    }
}

/// Why the store does not take a NodeDB secret.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the NodeDB secret was in use before the store was restored, so a token of its may have been used already: set a new secret in the NodeDB cluster and here"
    )]
    Retired,
    #[error(
        "the NodeDB secret is known to this store as another key: set a new secret in the NodeDB cluster and here"
    )]
    Conflict,
    #[error(
        "the store has as many keys as there can be, so it takes no other NodeDB secret: restore it from a snapshot of its own, which retires all keys"
    )]
    Full,
}

fn find(keys: &[SigningKey], known: &AdoptKey) -> Option<SigningKey> {
    keys.iter().find(|key| key.id() == known.key_id).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{KeyId, NodePattern};

    fn adopted(key: &SigningKey, policy: Option<&OfflinePolicy>) -> AdoptKey {
        AdoptKey {
            key_id: key.id(),
            purpose: key.purpose(),
            fingerprint: key.fingerprint(),
            max_ttl_ms: policy.map(|policy| policy.max_ttl_ms),
            node_pattern: policy.map(|policy| policy.node_pattern.to_string()),
        }
    }

    #[test]
    fn the_ring_holds_what_is_adopted_and_here_by_its_fingerprint() {
        let resource = SigningKey::generate(Purpose::Resource).unwrap();
        let master = SigningKey::generate(Purpose::Offline).unwrap();
        let nodedb = SigningKey::generate(Purpose::NodeDb).unwrap();
        let policy = OfflinePolicy {
            node_pattern: "edge-*".parse::<NodePattern>().unwrap(),
            max_ttl_ms: 60_000,
        };
        let offline = SigningKey::derive_offline(&master, KeyId([5; 8]), &policy);
        let source = KeySource {
            resource: vec![resource.clone()],
            offline_master: master,
            nodedb: vec![nodedb.clone()],
        };

        assert_eq!(source.ring(&[]).keys().count(), 0, "nothing is adopted");

        let all = [
            adopted(&resource, None),
            adopted(&offline, Some(&policy)),
            adopted(&nodedb, None),
        ];
        let ring = source.ring(&all);
        assert_eq!(ring.keys().count(), 3);
        assert_eq!(
            ring.get(offline.id()).unwrap().fingerprint(),
            offline.fingerprint()
        );

        let mut widened = adopted(&offline, Some(&policy));
        widened.max_ttl_ms = Some(120_000);
        let mut replaced = adopted(&resource, None);
        replaced.fingerprint.0[0] ^= 1;
        let stranger = SigningKey::generate(Purpose::Resource).unwrap();
        let ring = source.ring(&[widened, replaced, adopted(&stranger, None)]);
        assert_eq!(
            ring.keys().count(),
            0,
            "another policy or fingerprint is another key"
        );
    }
}
