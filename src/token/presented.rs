//! What somebody presents: a string of one of the accepted formats, told apart by its shape.

use data_encoding::BASE64;

use super::{
    Audience, Delivery, JoinTokenString, KeyId, NodeDbToken, ParseError, ParsedToken, Purpose,
    TokenId, jt1, key_file, nodedb,
};

/// So long is the base64 of a NodeDB token, without a line end behind it.
const BASE64_OF_NODEDB: usize = nodedb::DIGITS.div_ceil(3) * 4;

/// The longest token, in characters.
pub const MAX_TOKEN: usize = 1024;

/// A well-formed token, not yet verified.
#[derive(Debug)]
pub enum Presented {
    /// One of ours.
    Jt1(ParsedToken),
    /// One of NodeDB's.
    NodeDb(NodeDbToken),
}

impl Presented {
    /// Parses a token, strictly: no character may stand before or behind it.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Empty);
        }
        // In base64 a long token is longer than any may be.
        if is_base64_of_token(text) {
            return Err(ParseError::Base64);
        }
        if text.len() > MAX_TOKEN {
            return Err(ParseError::TooLong);
        }
        if text.starts_with(jt1::PREFIX) {
            return ParsedToken::parse(text).map(Self::Jt1);
        }
        if text.starts_with(key_file::PREFIX) || text.starts_with(key_file::IN_BASE64) {
            return Err(ParseError::SigningKey);
        }
        if let Some(version) = version(text) {
            return Err(ParseError::UnknownVersion(version));
        }
        if text.len() == nodedb::DIGITS || text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return NodeDbToken::parse(text).map(Self::NodeDb);
        }
        Err(ParseError::NotAToken)
    }

    /// Parses a token as it comes out of a file or a terminal, with white space around it.
    pub fn parse_trimmed(text: &str) -> Result<Self, ParseError> {
        Self::parse(text.trim_ascii())
    }

    /// The token's public name. Nobody can make a token of the same name that verifies, but
    /// anybody can make one that does not.
    pub fn unverified_token_id(&self) -> TokenId {
        match self {
            Self::Jt1(token) => token.claims.public_id(),
            Self::NodeDb(token) => token.token_id(),
        }
    }

    /// The kind of key that it claims to be minted by.
    pub const fn unverified_purpose(&self) -> Purpose {
        match self {
            Self::Jt1(token) => token.claims.purpose,
            Self::NodeDb(_) => Purpose::NodeDb,
        }
    }

    /// The key that it claims to be minted by; NodeDB's tokens do not say.
    pub const fn unverified_key_id(&self) -> Option<KeyId> {
        match self {
            Self::Jt1(token) => Some(token.claims.key_id),
            Self::NodeDb(_) => None,
        }
    }

    /// The store that it claims to be for; NodeDB's tokens do not say.
    pub const fn unverified_audience(&self) -> Option<Audience> {
        match self {
            Self::Jt1(token) => Some(token.claims.audience),
            Self::NodeDb(_) => None,
        }
    }

    /// The name of the node that it claims to admit.
    pub fn unverified_node_name(&self) -> String {
        match self {
            Self::Jt1(token) => token.claims.node_name.clone(),
            Self::NodeDb(token) => token.unverified_node_name(),
        }
    }

    /// When it claims to be issued, in milliseconds since the epoch; NodeDB's tokens do not say.
    pub const fn unverified_issued_at_ms(&self) -> Option<u64> {
        match self {
            Self::Jt1(token) => Some(token.claims.issued_at_ms),
            Self::NodeDb(_) => None,
        }
    }

    /// When it claims to expire, in milliseconds since the epoch.
    pub fn unverified_expires_at_ms(&self) -> u64 {
        match self {
            Self::Jt1(token) => token.claims.expires_at_ms,
            Self::NodeDb(token) => token.unverified_expires_at_ms(),
        }
    }

    /// Where it claims that the door is; NodeDB's tokens do not say. A joiner has nothing but
    /// the token to go by and may trust this as far as it trusts whoever gave it the token.
    pub const fn unverified_delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Jt1(token) => Some(&token.delivery),
            Self::NodeDb(_) => None,
        }
    }

    /// The token as a string; NodeDB's in lower case.
    pub fn render(&self) -> JoinTokenString {
        match self {
            Self::Jt1(token) => token.render(),
            Self::NodeDb(token) => token.render(),
        }
    }
}

/// Whether this is the base64 of a token, whole or not. (No NodeDB token begins as ours does there: it has no `n`.)
fn is_base64_of_token(text: &str) -> bool {
    // "jt1_", and two bits of whatever follows.
    let begins_like_ours = text.strip_prefix("anQxX").is_some();
    let of_nodedb = || {
        let text = text.get(..BASE64_OF_NODEDB)?;
        let decoded = BASE64.decode(text.as_bytes()).ok()?;
        decoded.iter().all(u8::is_ascii_hexdigit).then_some(())
    };
    // Digits alone are a NodeDB token of a wrong length, and of digits base64 makes other letters too.
    let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    begins_like_ours || (!is_hex && of_nodedb().is_some())
}

/// The number in a prefix like `jt2_`.
fn version(text: &str) -> Option<u16> {
    let (digits, _) = text.strip_prefix("jt")?.split_once('_')?;
    let number: u16 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
