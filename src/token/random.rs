//! Names and secrets drawn from the operating system's random number generator.

use zeroize::Zeroizing;

use super::{KeyId, StoreId, TokenId};

/// The operating system gave no random bytes; nothing was made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// `N` random bytes, wiped when dropped.
pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(bytes)
}

impl TokenId {
    /// A name that no other token has.
    pub fn random() -> Result<Self, RandomError> {
        Ok(Self(*random()?))
    }
}

impl KeyId {
    /// A name that no other signing key has.
    pub fn random() -> Result<Self, RandomError> {
        Ok(Self(*random()?))
    }
}

impl StoreId {
    /// A name that no other founding of a store has.
    pub fn random() -> Result<Self, RandomError> {
        Ok(Self(*random()?))
    }
}
