//! The keys that a store accepts, and what verifying by them finds.

use std::collections::BTreeMap;

use super::{
    Audience, KeyId, NodeDbToken, OfflinePolicy, ParsedToken, PolicyBreach, Presented, Purpose,
    SigningKey, TokenId,
};

/// How far ahead of the verifier's clock a token may be issued, in milliseconds.
pub const MAX_ISSUED_AHEAD_MS: u64 = 5 * 60 * 1000;

/// All keys by which one store verifies tokens: resource keys, offline keys each with its policy,
/// and NodeDB secrets.
#[derive(Debug)]
pub struct KeyRing {
    /// Keys that tokens name.
    named: BTreeMap<KeyId, Named>,
    /// Secrets that tokens do not name: each is tried.
    nodedb: Vec<SigningKey>,
    /// Stands in for an unknown key, so that refusing takes the same time.
    nobody: SigningKey,
}

#[derive(Debug)]
struct Named {
    key: SigningKey,
    /// Of offline keys alone.
    policy: Option<OfflinePolicy>,
}

/// A key that does not fit into the ring; the ring is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// There is a key of that name.
    #[error("there is already a signing key {0}")]
    Duplicate(KeyId),
    /// An offline key without a policy, or a policy for another kind of key.
    #[error("signing key {0} is of another purpose")]
    Purpose(KeyId),
}

/// A token that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No key of the ring minted it. All that may be told to whoever has no valid token.
    #[error("the token is not valid here: none of this store's signing keys made it")]
    Invalid,
    /// Minted by a known key for another founding of the store.
    #[error("the token was made for another store, or before this one was restored")]
    OtherStore,
    /// Minted by a key of another purpose than it claims.
    #[error("the token claims a purpose that its signing key does not have")]
    WrongPurpose,
    /// Minted by an offline key that may not mint this.
    #[error(transparent)]
    Policy(#[from] PolicyBreach),
}

/// Where the verifier's clock stands to a token. Reported, not refused: for a token that the
/// store has a record of, the store's own time decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Issued and not expired.
    Live,
    /// Its time is over.
    Expired,
    /// Issued more than five minutes from now.
    IssuedInFuture,
}

impl Timing {
    /// Where `now_ms` stands to a token's times. A token expires at its expiry, not after it.
    pub const fn at(now_ms: u64, issued_at_ms: Option<u64>, expires_at_ms: u64) -> Self {
        match issued_at_ms {
            _ if now_ms >= expires_at_ms => Self::Expired,
            Some(at) if at > now_ms.saturating_add(MAX_ISSUED_AHEAD_MS) => Self::IssuedInFuture,
            _ => Self::Live,
        }
    }
}

/// A token that a key of the ring has minted for this store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The token's public name.
    pub token_id: TokenId,
    /// The key that minted it.
    pub key_id: KeyId,
    /// What that key may mint.
    pub purpose: Purpose,
    /// The node that it admits.
    pub node_name: String,
    /// When it was issued, in milliseconds since the epoch; NodeDB's tokens do not say.
    pub issued_at_ms: Option<u64>,
    /// When it expires, in milliseconds since the epoch.
    pub expires_at_ms: u64,
    /// Where the time given stands to the two.
    pub timing: Timing,
}

impl Default for KeyRing {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            nodedb: Vec::new(),
            nobody: SigningKey::from_bytes(Purpose::Resource, KeyId([0; 8]), &[0; 32]),
        }
    }
}

impl KeyRing {
    /// A ring without keys: it verifies nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource key or a NodeDB secret.
    pub fn insert(&mut self, key: SigningKey) -> Result<(), KeyRingError> {
        match key.purpose() {
            Purpose::Resource => self.insert_named(key, None),
            Purpose::Offline => Err(KeyRingError::Purpose(key.id())),
            Purpose::NodeDb if self.get(key.id()).is_some() => {
                Err(KeyRingError::Duplicate(key.id()))
            }
            Purpose::NodeDb => {
                self.nodedb.push(key);
                Ok(())
            }
        }
    }

    /// Adds an offline key with what it may mint.
    pub fn insert_offline(
        &mut self,
        key: SigningKey,
        policy: OfflinePolicy,
    ) -> Result<(), KeyRingError> {
        match key.purpose() {
            Purpose::Offline => self.insert_named(key, Some(policy)),
            Purpose::Resource | Purpose::NodeDb => Err(KeyRingError::Purpose(key.id())),
        }
    }

    fn insert_named(
        &mut self,
        key: SigningKey,
        policy: Option<OfflinePolicy>,
    ) -> Result<(), KeyRingError> {
        let id = key.id();
        if self.get(id).is_some() {
            return Err(KeyRingError::Duplicate(id));
        }
        self.named.insert(id, Named { key, policy });
        Ok(())
    }

    /// Takes a key out; true if it was there.
    pub fn remove(&mut self, id: KeyId) -> bool {
        let before = self.nodedb.len();
        self.nodedb.retain(|secret| secret.id() != id);
        self.named.remove(&id).is_some() || self.nodedb.len() < before
    }

    /// The key of this name.
    pub fn get(&self, id: KeyId) -> Option<&SigningKey> {
        let named = self.named.get(&id).map(|named| &named.key);
        named.or_else(|| self.nodedb.iter().find(|secret| secret.id() == id))
    }

    /// All keys, those that tokens name first, in the order of their names.
    pub fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        self.named
            .values()
            .map(|named| &named.key)
            .chain(&self.nodedb)
    }

    /// Verifies a token for the store of this audience. `now_ms` is in milliseconds since the
    /// epoch and decides nothing but [`Verified::timing`].
    ///
    /// # Errors
    /// Everything but [`VerifyError::Invalid`] is said only of a token with a valid MAC.
    pub fn verify(
        &self,
        token: &Presented,
        audience: Audience,
        now_ms: u64,
    ) -> Result<Verified, VerifyError> {
        match token {
            Presented::Jt1(token) => self.verify_jt1(token, audience, now_ms),
            Presented::NodeDb(token) => self.verify_nodedb(token, now_ms),
        }
    }

    fn verify_jt1(
        &self,
        token: &ParsedToken,
        audience: Audience,
        now_ms: u64,
    ) -> Result<Verified, VerifyError> {
        let claims = &token.claims;
        let named = self.named.get(&claims.key_id);
        // Computed for an unknown key too: the time must not tell which names exist.
        let minted = bool::from(token.is_minted_by(named.map_or(&self.nobody, |named| &named.key)));
        let named = named.filter(|_| minted).ok_or(VerifyError::Invalid)?;
        if claims.audience != audience {
            return Err(VerifyError::OtherStore);
        }
        // Whoever holds an offline key can write "resource" into a token and sign it.
        if claims.purpose != named.key.purpose() {
            return Err(VerifyError::WrongPurpose);
        }
        if let Some(policy) = &named.policy {
            policy.allows(claims)?;
        }
        Ok(Verified {
            token_id: claims.public_id(),
            key_id: claims.key_id,
            purpose: claims.purpose,
            node_name: claims.node_name.clone(),
            issued_at_ms: Some(claims.issued_at_ms),
            expires_at_ms: claims.expires_at_ms,
            timing: Timing::at(now_ms, Some(claims.issued_at_ms), claims.expires_at_ms),
        })
    }

    fn verify_nodedb(&self, token: &NodeDbToken, now_ms: u64) -> Result<Verified, VerifyError> {
        let mut minted_by = None;
        // Every secret is tried, also after one has fitted: the time must not tell which.
        for secret in &self.nodedb {
            if bool::from(token.is_minted_by(secret)) {
                minted_by = Some(secret.id());
            }
        }
        let key_id = minted_by.ok_or(VerifyError::Invalid)?;
        let expires_at_ms = token.unverified_expires_at_ms();
        Ok(Verified {
            token_id: token.token_id(),
            key_id,
            purpose: Purpose::NodeDb,
            node_name: token.unverified_node_name(),
            issued_at_ms: None,
            expires_at_ms,
            timing: Timing::at(now_ms, None, expires_at_ms),
        })
    }
}
