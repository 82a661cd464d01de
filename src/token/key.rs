//! Signing keys: 32 secret bytes that mint and verify.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::random::random;
use super::{Fingerprint, KeyId, OfflinePolicy, Purpose, RandomError};

/// Separates fingerprints from every other use of SHA-256 on key material.
const FINGERPRINT_DOMAIN: &[u8] = b"jointoken signing key fingerprint v1";
/// Separates the derivation of offline keys from the MACs of tokens, which begin with `jt1_`
/// or, for NodeDB, are of 16 bytes.
const OFFLINE_DOMAIN: &[u8] = b"jointoken offline key v1";

/// A secret that mints and verifies tokens by HMAC-SHA256. Wiped when dropped, never printed.
///
/// The secret lies on the heap, so that moving the key leaves no copy behind.
#[derive(Clone)]
pub struct SigningKey {
    id: KeyId,
    purpose: Purpose,
    secret: Box<Zeroizing<[u8; 32]>>,
}

/// A NodeDB secret that did not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a NodeDB secret is 32 bytes, raw or as 64 hexadecimal digits")]
pub struct NodeDbSecretError;

impl SigningKey {
    /// A new key with a random name; a NodeDB secret is named by its fingerprint.
    pub fn generate(purpose: Purpose) -> Result<Self, RandomError> {
        let secret = random()?;
        Ok(match purpose {
            Purpose::NodeDb => Self::nodedb(&secret),
            Purpose::Resource | Purpose::Offline => {
                Self::from_bytes(purpose, KeyId::random()?, &secret)
            }
        })
    }

    /// The key with this name and these bytes, as they were stored.
    pub fn from_bytes(purpose: Purpose, id: KeyId, bytes: &[u8; 32]) -> Self {
        let mut secret = Box::new(Zeroizing::new([0; 32]));
        secret.copy_from_slice(bytes);
        Self {
            id,
            purpose,
            secret,
        }
    }

    /// A NodeDB cluster secret. NodeDB does not name its secrets: the name is the first eight
    /// bytes of the fingerprint, so every replica gives the same secret the same name.
    pub fn nodedb(bytes: &[u8; 32]) -> Self {
        let mut key = Self::from_bytes(Purpose::NodeDb, KeyId([0; 8]), bytes);
        let fingerprint = key.fingerprint();
        key.id.0.copy_from_slice(&fingerprint.0[..8]);
        key
    }

    /// A NodeDB secret as a file holds it: 32 raw bytes, or 64 hexadecimal digits of either case
    /// with white space around them.
    pub fn parse_nodedb(content: &[u8]) -> Result<Self, NodeDbSecretError> {
        if let Ok(raw) = content.try_into() {
            return Ok(Self::nodedb(raw));
        }
        let digits = content.trim_ascii();
        let mut bytes = Zeroizing::new([0; 32]);
        if digits.len() != 64 {
            return Err(NodeDbSecretError);
        }
        match HEXLOWER_PERMISSIVE.decode_mut(digits, bytes.as_mut_slice()) {
            Ok(_) => Ok(Self::nodedb(&bytes)),
            Err(_) => Err(NodeDbSecretError),
        }
    }

    /// The offline key with this name under this policy: HMAC-SHA256 by `master` of the name and
    /// the policy. One master serves every export, only names, policies and fingerprints need
    /// storing, and the holder of an exported key cannot widen its policy: another policy is
    /// another key.
    pub fn derive_offline(master: &Self, id: KeyId, policy: &OfflinePolicy) -> Self {
        let secret = master.mac(&[OFFLINE_DOMAIN, id.as_bytes(), &policy.encode()]);
        Self::from_bytes(Purpose::Offline, id, &secret)
    }

    /// The key's public name.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the key may mint.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// A hash that tells this secret from another without giving it away. It depends on the
    /// secret alone, not on name or purpose: a secret that is refused stays refused under
    /// another name.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(FINGERPRINT_DOMAIN);
        hash.update(self.secret.as_slice());
        Fingerprint(hash.finalize().into())
    }

    /// The secret itself, for storing it. Whoever has it can mint.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.secret
    }

    /// HMAC-SHA256 (RFC 2104) over the parts, one after the other.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        // A key shorter than the hash's block is padded with zeros by the definition of HMAC;
        // doing it here needs no error path for keys of other lengths.
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(self.secret.as_slice());
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        for part in parts {
            mac.update(part);
        }
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// Whether `mac` is this key's over the parts, in constant time.
    pub(super) fn mac_is(&self, parts: &[&[u8]], mac: &[u8; 32]) -> Choice {
        self.mac(parts).ct_eq(mac)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let key = SigningKey::from_bytes(Purpose::Resource, KeyId([7; 8]), &[0xab; 32]);
        assert_eq!(
            format!("{key:?}"),
            "SigningKey { id: KeyId(0707070707070707), purpose: Resource, .. }"
        );
    }

    #[test]
    fn mac_is_hmac_sha256() {
        // RFC 4231, test case 1, whose key is of 20 bytes: padded with zeros it is the same key.
        let mut secret = [0; 32];
        secret[..20].fill(0x0b);
        let key = SigningKey::from_bytes(Purpose::Resource, KeyId([0; 8]), &secret);
        assert_eq!(
            data_encoding::HEXLOWER.encode(key.mac(&[b"Hi ", b"There"]).as_slice()),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn nodedb_secret_is_read_raw_and_as_hex() {
        let raw = SigningKey::parse_nodedb(&[0xaa; 32]).unwrap();
        let hex = SigningKey::parse_nodedb(format!(" {}\n", "aA".repeat(32)).as_bytes()).unwrap();
        assert_eq!(raw.fingerprint(), hex.fingerprint());
        assert_eq!(raw.id(), hex.id());
        assert_eq!(raw.purpose(), Purpose::NodeDb);
        for bad in ["", "aa", &"a".repeat(63), &"g".repeat(64), &"a".repeat(66)] {
            assert_eq!(
                SigningKey::parse_nodedb(bad.as_bytes()).unwrap_err(),
                NodeDbSecretError
            );
        }
    }

    #[test]
    fn another_policy_or_name_is_another_key() {
        let master = SigningKey::from_bytes(Purpose::Offline, KeyId([1; 8]), &[9; 32]);
        let policy = |pattern: &str, max_ttl_ms| OfflinePolicy {
            node_pattern: pattern.parse().unwrap(),
            max_ttl_ms,
        };
        let derive = |id, policy: &OfflinePolicy| {
            SigningKey::derive_offline(&master, KeyId([id; 8]), policy).fingerprint()
        };
        let edge = derive(2, &policy("edge-*", 1000));
        assert_eq!(edge, derive(2, &policy("edge-*", 1000)));
        assert_ne!(edge, derive(3, &policy("edge-*", 1000)));
        assert_ne!(edge, derive(2, &policy("*", 1000)));
        assert_ne!(edge, derive(2, &policy("edge-*", 1001)));
        assert_ne!(edge, master.fingerprint());
    }

    #[test]
    fn generated_keys_differ() {
        let a = SigningKey::generate(Purpose::Resource).unwrap();
        let b = SigningKey::generate(Purpose::Resource).unwrap();
        assert_ne!(a.id(), b.id());
        assert_ne!(a.fingerprint(), b.fingerprint());
    }
}
