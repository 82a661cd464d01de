//! Strings that must not be seen.

use std::fmt;

use zeroize::Zeroizing;

/// A token as its holder has it. Whoever sees it may try to join: it is wiped when dropped, and
/// neither printed nor compared.
pub struct JoinTokenString(Zeroizing<String>);

impl JoinTokenString {
    pub(super) const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JoinTokenString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinTokenString(..)")
    }
}
