//! Join tokens of NodeDB 0.2: 96 hexadecimal digits of either case.
//!
//! ```text
//! for_node 8 | expiry, in seconds since the epoch 8 | HMAC-SHA256 of those 16 bytes 32
//! ```
//!
//! Numbers are little-endian. The 48 decoded bytes are canonical: both cases of hex are one token.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};
use subtle::Choice;
use zeroize::Zeroizing;

use super::{JoinTokenString, MintError, ParseError, Purpose, SigningKey, TokenId};

/// How many hexadecimal digits a token has.
pub(super) const DIGITS: usize = 96;
/// The bytes that the MAC is over.
const SIGNED: usize = 16;

/// A NodeDB token that is well-formed. What it says is worth nothing before a
/// [`KeyRing`](super::KeyRing) has verified it.
pub struct NodeDbToken {
    bytes: Zeroizing<[u8; DIGITS / 2]>,
}

impl NodeDbToken {
    /// Parses a string of [`DIGITS`] bytes.
    pub(super) fn parse(text: &str) -> Result<Self, ParseError> {
        let mut bytes = Zeroizing::new([0; DIGITS / 2]);
        if text.len() != DIGITS {
            return Err(ParseError::WrongLength {
                digits: text.chars().count(),
            });
        }
        HEXLOWER_PERMISSIVE
            .decode_mut(text.as_bytes(), bytes.as_mut_slice())
            .map_err(|_| ParseError::NotHex)?;
        Ok(Self { bytes })
    }

    /// The first 16 bytes of the SHA-256 of the 48 bytes. NodeDB tokens have no name of their
    /// own, and this one needs no MAC to be unforgeable: it is a hash of the MAC too.
    pub fn token_id(&self) -> TokenId {
        let hash = Sha256::digest(self.bytes.as_slice());
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        TokenId(id)
    }

    /// The number of the node that it claims to admit.
    pub fn unverified_for_node(&self) -> u64 {
        self.number(0)
    }

    /// The name that such a node gets: `node-<number>`, an RFC 1123 label.
    pub fn unverified_node_name(&self) -> String {
        format!("node-{}", self.unverified_for_node())
    }

    /// When it claims to expire, in milliseconds since the epoch. NodeDB counts seconds up to
    /// 2^64; what does not fit stays at the largest number, which is as far away.
    pub fn unverified_expires_at_ms(&self) -> u64 {
        self.number(8).saturating_mul(1000)
    }

    /// The token, in lower case.
    pub fn render(&self) -> JoinTokenString {
        let mut text = Zeroizing::new(String::with_capacity(DIGITS));
        HEXLOWER.encode_append(self.bytes.as_slice(), &mut text);
        JoinTokenString::new(text)
    }

    /// Whether the MAC is this key's, in constant time.
    pub(super) fn is_minted_by(&self, key: &SigningKey) -> Choice {
        let mut mac = Zeroizing::new([0; 32]);
        mac.copy_from_slice(&self.bytes[SIGNED..]);
        key.mac_is(&[&self.bytes[..SIGNED]], &mac)
    }

    fn number(&self, at: usize) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(number)
    }
}

impl fmt::Debug for NodeDbToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeDbToken")
            .field("for_node", &self.unverified_for_node())
            .field("expires_at_ms", &self.unverified_expires_at_ms())
            .finish_non_exhaustive()
    }
}

/// Mints the token that NodeDB itself would mint.
///
/// # Errors
/// When the key is no NodeDB secret.
pub fn mint_nodedb(
    secret: &SigningKey,
    for_node: u64,
    expires_at_seconds: u64,
) -> Result<JoinTokenString, MintError> {
    if secret.purpose() != Purpose::NodeDb {
        return Err(MintError::WrongKey);
    }
    let mut bytes = Zeroizing::new([0; DIGITS / 2]);
    bytes[..8].copy_from_slice(&for_node.to_le_bytes());
    bytes[8..SIGNED].copy_from_slice(&expires_at_seconds.to_le_bytes());
    let mac = secret.mac(&[&bytes[..SIGNED]]);
    bytes[SIGNED..].copy_from_slice(mac.as_slice());
    Ok(NodeDbToken { bytes }.render())
}
