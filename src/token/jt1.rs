//! The format `jt1_`: versioned binary in base64url.
//!
//! ```text
//! purpose 1 | key id 8 | audience 8 | token id 16 | issued at 8 | expires at 8
//! | node name: length 1, text | door pin 32 | URLs: count 1, each length 1, text
//! | HMAC-SHA256 32 | CRC32 4
//! ```
//!
//! Times are milliseconds since the epoch, numbers are big-endian. The MAC is over the four
//! characters `jt1_` and all fields before it, the CRC over the same and the MAC, so that a token
//! of another version never verifies as one of this. Every field has one encoding, hence every
//! token too.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::Choice;
use zeroize::Zeroizing;

use super::codec::{self, Ended, Reader, Writer};
use super::presented::MAX_TOKEN;
use super::{
    Audience, ClaimError, Claims, Delivery, JoinTokenString, KeyId, MintError, ParseError, Purpose,
    SigningKey, TokenId,
};

/// What every token of this format begins with.
pub(super) const PREFIX: &str = "jt1_";
const MAC: usize = 32;
/// Separates names of offline tokens from every other use of SHA-256.
const OFFLINE_ID_DOMAIN: &[u8] = b"jointoken offline token id v1";

/// Mints the token of these claims. A pure function: the same key, claims and delivery give the
/// same string on every replica and after every restart.
///
/// # Errors
/// When the claims name another key or purpose, say what no token may say, or make a string of
/// more than 1,024 characters.
pub fn mint(
    key: &SigningKey,
    claims: &Claims,
    delivery: &Delivery,
) -> Result<JoinTokenString, MintError> {
    claims.check()?;
    delivery.check()?;
    if claims.key_id != key.id() || claims.purpose != key.purpose() {
        return Err(MintError::WrongKey);
    }
    let fields = encode(claims, delivery);
    let mac = key.mac(&[PREFIX.as_bytes(), &fields]);
    let token = render(&fields, &mac);
    match token.expose().len() {
        0..=MAX_TOKEN => Ok(token),
        characters => Err(MintError::TooLong { characters }),
    }
}

/// A `jt1_` token that is well-formed. What it says is worth nothing before a
/// [`KeyRing`](super::KeyRing) has verified it.
pub struct ParsedToken {
    pub(super) claims: Claims,
    pub(super) delivery: Delivery,
    /// The fields as they came: what the MAC is over.
    fields: Vec<u8>,
    mac: Zeroizing<[u8; MAC]>,
}

impl ParsedToken {
    /// Parses a string that begins with [`PREFIX`].
    pub(super) fn parse(text: &str) -> Result<Self, ParseError> {
        let content = codec::open(PREFIX, text, |bytes| {
            let mut reader = Reader::new(bytes);
            Layout::read(&mut reader)?;
            Ok(bytes.len() - reader.left() + MAC)
        })?;
        // The checksum fits, so lengths that do not are no accident of copying.
        let (fields, mac) = content
            .split_last_chunk::<MAC>()
            .ok_or(ParseError::CutShort)?;
        let mut reader = Reader::new(fields);
        let layout = Layout::read(&mut reader).map_err(|Ended| ParseError::CutShort)?;
        if reader.left() > 0 {
            return Err(ParseError::Trailing);
        }
        let (claims, delivery) = layout.interpret()?;
        Ok(Self {
            claims,
            delivery,
            fields: fields.to_vec(),
            mac: Zeroizing::new(*mac),
        })
    }

    /// What the token claims, whoever made it.
    pub const fn unverified_claims(&self) -> &Claims {
        &self.claims
    }

    /// Where the token says that the door is, whoever made it.
    pub const fn unverified_delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The string that was parsed.
    pub fn render(&self) -> JoinTokenString {
        render(&encode(&self.claims, &self.delivery), &self.mac)
    }

    /// Whether the MAC is this key's, in constant time.
    pub(super) fn is_minted_by(&self, key: &SigningKey) -> Choice {
        key.mac_is(&[PREFIX.as_bytes(), &self.fields], &self.mac)
    }
}

impl fmt::Debug for ParsedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedToken")
            .field("claims", &self.claims)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

fn render(fields: &[u8], mac: &[u8; MAC]) -> JoinTokenString {
    let mut content = Zeroizing::new(Vec::with_capacity(fields.len() + MAC));
    content.extend_from_slice(fields);
    content.extend_from_slice(mac);
    JoinTokenString::new(codec::seal(PREFIX, &content))
}

fn encode(claims: &Claims, delivery: &Delivery) -> Vec<u8> {
    let mut writer = Writer::default();
    write_claims(&mut writer, claims);
    writer.bytes(&delivery.door_pin);
    writer.texts(&delivery.urls);
    writer.into_bytes()
}

/// The public name of an offline token: the first 16 bytes of a SHA-256 over all its claims as they
/// are on the wire. See [`Claims::public_id`].
pub(super) fn offline_id(claims: &Claims) -> TokenId {
    let mut writer = Writer::default();
    write_claims(&mut writer, claims);
    let hash = Sha256::new()
        .chain_update(OFFLINE_ID_DOMAIN)
        .chain_update(writer.into_bytes())
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    TokenId(id)
}

fn write_claims(writer: &mut Writer, claims: &Claims) {
    writer.u8(claims.purpose as u8);
    writer.bytes(claims.key_id.as_bytes());
    writer.bytes(claims.audience.as_bytes());
    writer.bytes(claims.token_id.as_bytes());
    writer.u64(claims.issued_at_ms);
    writer.u64(claims.expires_at_ms);
    writer.text(&claims.node_name);
}

/// The fields by their lengths, before what they say is looked at.
struct Layout<'a> {
    purpose: u8,
    key_id: [u8; 8],
    audience: [u8; 8],
    token_id: [u8; 16],
    issued_at_ms: u64,
    expires_at_ms: u64,
    node_name: &'a [u8],
    door_pin: [u8; 32],
    urls: Vec<&'a [u8]>,
}

impl<'a> Layout<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Ended> {
        // Fields are evaluated in the order written here, which is that of the wire.
        Ok(Self {
            purpose: reader.u8()?,
            key_id: reader.array()?,
            audience: reader.array()?,
            token_id: reader.array()?,
            issued_at_ms: reader.u64()?,
            expires_at_ms: reader.u64()?,
            node_name: reader.text()?,
            door_pin: reader.array()?,
            urls: reader.texts()?,
        })
    }

    fn interpret(self) -> Result<(Claims, Delivery), ClaimError> {
        let claims = Claims {
            purpose: Purpose::from_number(self.purpose).ok_or(ClaimError::Purpose)?,
            key_id: KeyId(self.key_id),
            audience: Audience(self.audience),
            token_id: TokenId(self.token_id),
            node_name: owned(self.node_name).ok_or(ClaimError::NodeName)?,
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires_at_ms,
        };
        let delivery = Delivery {
            door_pin: self.door_pin,
            urls: owned_urls(&self.urls)?,
        };
        claims.check()?;
        delivery.check()?;
        Ok((claims, delivery))
    }
}

fn owned(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The URLs of a token or a key file, as text.
pub(super) fn owned_urls(urls: &[&[u8]]) -> Result<Vec<String>, ClaimError> {
    urls.iter()
        .map(|url| owned(url).ok_or(ClaimError::Url))
        .collect()
}
