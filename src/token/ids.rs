//! The public names that tokens, keys and stores carry. None of them is a secret.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// A name that did not parse: it must be so many lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lower-case hexadecimal digits")]
pub struct ParseIdError {
    digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// The name's bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { digits: 2 * $bytes };
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| error.clone())?;
                bytes.try_into().map(Self).map_err(|_| error)
            }
        }
    };
}

id! {
    /// The public name of a token and the key of its record: 128 bits, random, under the token's MAC.
    TokenId, 16
}
id! {
    /// The name of a signing key.
    KeyId, 8
}
id! {
    /// The first eight bytes of a [`StoreId`]: which store a token was minted for.
    Audience, 8
}
id! {
    /// The random name of one founding of a store.
    StoreId, 16
}
id! {
    /// SHA-256 of a joiner's public key (its SubjectPublicKeyInfo, DER): who a joiner is.
    JoinerId, 32
}
id! {
    /// SHA-256 of key material or of a certificate: tells one key from another without giving it away.
    Fingerprint, 32
}

impl StoreId {
    /// The part of the store's name that every token for it carries.
    pub fn audience(&self) -> Audience {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        Audience(first)
    }
}

/// What a signing key may mint. The numbers are on the wire and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// Mints for `JoinToken` resources; never leaves the operator.
    Resource = 1,
    /// Exported to whoever mints without a server; its tokens are registered on first sight.
    Offline = 2,
    /// A NodeDB cluster secret; its tokens are registered on first sight.
    NodeDb = 3,
}

impl Purpose {
    /// The purpose with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Resource),
            2 => Some(Self::Offline),
            3 => Some(Self::NodeDb),
            _ => None,
        }
    }

    /// The purpose as users read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Offline => "offline",
            Self::NodeDb => "nodedb",
        }
    }
}
