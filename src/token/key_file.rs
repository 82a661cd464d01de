//! An exported offline key: all that `jointoken create` needs to mint without a server.
//!
//! ```text
//! purpose 1 (offline) | key id 8 | audience 8 | node pattern: length 1, text | max TTL 8, ms
//! | door pin 32 | URLs: count 1, each length 1, text | secret 32 | CRC32 4
//! ```
//!
//! One line: `jtk1_` and base64url of the above, numbers big-endian, the CRC over `jtk1_` too.
//! The CRC finds accidents. Against intent, the secret is derived from name, pattern and TTL:
//! what somebody else's pattern or TTL is written over mints tokens that no door accepts.

use std::fmt;

use zeroize::Zeroizing;

use super::codec::{self, Damage, Ended, Reader, Writer};
use super::jt1::owned_urls;
use super::{
    Audience, ClaimError, Claims, Delivery, JoinTokenString, KeyId, MintError, NodePattern,
    OfflinePolicy, PatternError, PolicyBreach, Purpose, SigningKey, TokenId, mint,
};

/// What every exported key begins with.
pub(super) const PREFIX: &str = "jtk1_";
/// What it begins with in base64: "jtk1", and two bits of "_".
pub(super) const IN_BASE64: &str = "anRrMV";
/// The longest exported key, in characters: four URLs of the longest kind fit.
pub const MAX_KEY_FILE: usize = 2048;
const SECRET: usize = 32;

/// An exported offline key with what it may mint and what its tokens say.
#[derive(Clone)]
pub struct OfflineKeyFile {
    /// The key; its purpose is offline.
    key: SigningKey,
    /// What the door lets it mint.
    pub policy: OfflinePolicy,
    /// The store that its tokens are for.
    pub audience: Audience,
    /// The pin and the URLs that its tokens carry.
    pub delivery: Delivery,
}

/// A string that is no exported key. Never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not of this format at all.
    #[error("this is not an exported signing key: one begins with {PREFIX}")]
    NotAKey,
    /// Still in base64, as Secrets hold it in YAML and JSON.
    #[error("this is a signing key in base64, as Secrets hold it: decode it first (base64 -d)")]
    Base64,
    /// Longer than any exported key.
    #[error("this is longer than any exported signing key: the limit is {MAX_KEY_FILE} characters")]
    TooLong,
    /// A character that no key has, such as a line break in the middle.
    #[error("character {position} is one that no exported signing key has")]
    Character {
        /// Its place, the first character being 1.
        position: usize,
    },
    /// Characters are missing.
    #[error("the signing key is cut short: copy it again, whole")]
    CutShort,
    /// Characters were added behind the end.
    #[error("there is something behind the signing key's end")]
    Trailing,
    /// The checksum does not fit.
    #[error("the signing key has a typo: its checksum does not match")]
    Typo,
    /// The key is of another purpose than offline.
    #[error("only offline keys can be exported, and this is of another purpose")]
    Purpose,
    /// The node pattern is none.
    #[error("the signing key is malformed: {0}")]
    Pattern(#[from] PatternError),
    /// The maximum TTL is zero.
    #[error("the signing key is malformed: its maximum TTL is zero")]
    Ttl,
    /// A URL is none.
    #[error("the signing key is malformed: {0}")]
    Delivery(#[from] ClaimError),
}

impl From<Damage> for KeyFileError {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Character { position } => Self::Character { position },
            Damage::Cut => Self::CutShort,
            Damage::Trailing => Self::Trailing,
            Damage::Typo => Self::Typo,
        }
    }
}

/// Why an exported key mints no such token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfflineMintError {
    /// The door would refuse it.
    #[error(transparent)]
    Policy(#[from] PolicyBreach),
    /// No token can say this.
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl OfflineKeyFile {
    /// Puts a derived key together with what its tokens say.
    ///
    /// # Errors
    /// When the key is not an offline key, the TTL is zero, or a URL is none.
    pub fn new(
        key: SigningKey,
        policy: OfflinePolicy,
        audience: Audience,
        delivery: Delivery,
    ) -> Result<Self, KeyFileError> {
        if key.purpose() != Purpose::Offline {
            return Err(KeyFileError::Purpose);
        }
        if policy.max_ttl_ms == 0 {
            return Err(KeyFileError::Ttl);
        }
        delivery.check()?;
        Ok(Self {
            key,
            policy,
            audience,
            delivery,
        })
    }

    /// Parses an exported key, with white space around it as files have it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let text = text.trim_ascii();
        if !text.starts_with(PREFIX) {
            if text.starts_with(IN_BASE64) {
                return Err(KeyFileError::Base64);
            }
            return Err(KeyFileError::NotAKey);
        }
        if text.len() > MAX_KEY_FILE {
            return Err(KeyFileError::TooLong);
        }
        let content = codec::open(PREFIX, text, |bytes| {
            let mut reader = Reader::new(bytes);
            Layout::read(&mut reader)?;
            Ok(bytes.len() - reader.left() + SECRET)
        })?;
        let (fields, secret) = content
            .split_last_chunk::<SECRET>()
            .ok_or(KeyFileError::CutShort)?;
        let mut reader = Reader::new(fields);
        let layout = Layout::read(&mut reader).map_err(|Ended| KeyFileError::CutShort)?;
        if reader.left() > 0 {
            return Err(KeyFileError::Trailing);
        }
        if layout.purpose != Purpose::Offline as u8 {
            return Err(KeyFileError::Purpose);
        }
        let pattern =
            std::str::from_utf8(layout.node_pattern).map_err(|_| PatternError::Character)?;
        Self::new(
            SigningKey::from_bytes(Purpose::Offline, KeyId(layout.key_id), secret),
            OfflinePolicy {
                node_pattern: pattern.parse::<NodePattern>()?,
                max_ttl_ms: layout.max_ttl_ms,
            },
            Audience(layout.audience),
            Delivery {
                door_pin: layout.door_pin,
                urls: owned_urls(&layout.urls)?,
            },
        )
    }

    /// The one line that holds the key. Whoever has it can mint.
    pub fn render(&self) -> Zeroizing<String> {
        let mut writer = Writer::default();
        writer.u8(Purpose::Offline as u8);
        writer.bytes(self.key.id().as_bytes());
        writer.bytes(self.audience.as_bytes());
        writer.text(self.policy.node_pattern.as_str());
        writer.u64(self.policy.max_ttl_ms);
        writer.bytes(&self.delivery.door_pin);
        writer.texts(&self.delivery.urls);
        let fields = writer.into_bytes();
        let mut content = Zeroizing::new(Vec::with_capacity(fields.len() + SECRET));
        content.extend_from_slice(&fields);
        content.extend_from_slice(self.key.expose_bytes());
        codec::seal(PREFIX, &content)
    }

    /// The key.
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Mints a token for this node, unless the door would refuse it.
    ///
    /// # Errors
    /// When the node's name or the TTL is outside the key's policy, or no token can say this.
    pub fn mint(
        &self,
        token_id: TokenId,
        node_name: &str,
        issued_at_ms: u64,
        ttl_ms: u64,
    ) -> Result<JoinTokenString, OfflineMintError> {
        let claims = Claims {
            purpose: Purpose::Offline,
            key_id: self.key.id(),
            audience: self.audience,
            token_id,
            node_name: node_name.to_owned(),
            issued_at_ms,
            expires_at_ms: issued_at_ms.saturating_add(ttl_ms),
        };
        claims.check().map_err(MintError::from)?;
        self.policy.allows(&claims)?;
        Ok(mint(&self.key, &claims, &self.delivery)?)
    }
}

impl fmt::Debug for OfflineKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfflineKeyFile")
            .field("key", &self.key)
            .field("policy", &self.policy)
            .field("audience", &self.audience)
            .field("delivery", &self.delivery)
            .finish()
    }
}

/// The fields by their lengths, before what they say is looked at.
struct Layout<'a> {
    purpose: u8,
    key_id: [u8; 8],
    audience: [u8; 8],
    node_pattern: &'a [u8],
    max_ttl_ms: u64,
    door_pin: [u8; 32],
    urls: Vec<&'a [u8]>,
}

impl<'a> Layout<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Ended> {
        // Fields are evaluated in the order written here, which is that of the file.
        Ok(Self {
            purpose: reader.u8()?,
            key_id: reader.array()?,
            audience: reader.array()?,
            node_pattern: reader.text()?,
            max_ttl_ms: reader.u64()?,
            door_pin: reader.array()?,
            urls: reader.texts()?,
        })
    }
}
