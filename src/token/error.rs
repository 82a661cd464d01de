//! Why a string is no token. No variant carries any part of the string beyond its version.

use super::codec::Damage;
use super::presented::MAX_TOKEN;
use super::{ClaimError, claims};

/// A string that is no token of any accepted format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing there.
    #[error("there is no token: the input is empty")]
    Empty,
    /// Neither of the two accepted shapes.
    #[error(
        "this is not a join token: one begins with jt1_ or, from NodeDB, is 96 hexadecimal digits"
    )]
    NotAToken,
    /// An exported signing key where a token was expected.
    #[error(
        "this is a signing key, not a token: give joining machines a token made from it by `jointoken create`"
    )]
    SigningKey,
    /// Still in base64, as Secrets hold it in YAML and JSON.
    #[error(
        "this is a token in base64, as Secrets hold it: decode it first (kubectl get secret NAME -o jsonpath='{{.data.token}}' | base64 -d)"
    )]
    Base64,
    /// A format of another version.
    #[error(
        "this is a token of version jt{0}, and this program reads jt1: use the release that the token's issuer has"
    )]
    UnknownVersion(u16),
    /// Longer than any token.
    #[error("this is longer than any token: the limit is {MAX_TOKEN} characters")]
    TooLong,
    /// A NodeDB token of another length.
    #[error(
        "a NodeDB token has 96 hexadecimal digits, and this has {digits}: copy it again, whole"
    )]
    WrongLength {
        /// How many there are.
        digits: usize,
    },
    /// 96 characters that are not all hexadecimal digits.
    #[error("a NodeDB token is made of hexadecimal digits only, and this has another character")]
    NotHex,
    /// A character that no token has, such as a space or a line break in the middle.
    #[error("character {position} is one that no token has: copy the token again, in one line")]
    Character {
        /// Its place, the first character being 1.
        position: usize,
    },
    /// Characters are missing.
    #[error("the token is cut short: copy it again, whole")]
    CutShort,
    /// Characters were added behind the end.
    #[error("there is something behind the token's end: copy the token again, alone")]
    Trailing,
    /// The checksum does not fit.
    #[error("the token has a typo: its checksum does not match. Copy it again")]
    Typo,
    /// Whole and unharmed, yet saying what no token may say.
    #[error("the token is malformed: {0}")]
    Claim(#[from] ClaimError),
}

impl From<Damage> for ParseError {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Character { position } => Self::Character { position },
            Damage::Cut => Self::CutShort,
            Damage::Trailing => Self::Trailing,
            Damage::Typo => Self::Typo,
        }
    }
}

/// Claims that no token was minted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The claims name another key, or another purpose than the key's.
    #[error("the claims are not for this signing key")]
    WrongKey,
    /// The token would say what no token may say.
    #[error("no token can be minted: {0}")]
    Claim(#[from] ClaimError),
    /// The token would be longer than the limit. Fewer or shorter URLs help.
    #[error(
        "the token would have {characters} characters, and the limit is {MAX_TOKEN}: give fewer or shorter URLs (at most {})",
        claims::MAX_URLS
    )]
    TooLong {
        /// How long it would have been.
        characters: usize,
    },
}
