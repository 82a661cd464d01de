//! What somebody presents: a string of one of the accepted formats, told apart by its shape.

use super::{
    Audience, Delivery, JoinTokenString, KeyId, NodeDbToken, ParseError, ParsedToken, Purpose,
    TokenId, jt1, key_file, nodedb,
};

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
        if text.len() > MAX_TOKEN {
            return Err(ParseError::TooLong);
        }
        if text.starts_with(jt1::PREFIX) {
            return ParsedToken::parse(text).map(Self::Jt1);
        }
        if text.starts_with(key_file::PREFIX) {
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

/// The number in a prefix like `jt2_`.
fn version(text: &str) -> Option<u16> {
    let (digits, _) = text.strip_prefix("jt")?.split_once('_')?;
    let number: u16 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
