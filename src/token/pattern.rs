//! Globs over node names, and the policy of an offline key.

use std::fmt;
use std::str::FromStr;

use super::Claims;

/// The longest pattern, in characters: as long as the longest node name.
const MAX_PATTERN: usize = 63;

/// A glob over node names, such as `edge-*` or `rack?-n*`: `*` stands for any characters or
/// none, `?` for exactly one, everything else for itself. One spelling for one pattern: two
/// stars in a row are refused.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NodePattern(String);

/// A pattern that did not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing at all, or more than 63 characters.
    #[error("a node name pattern has 1 to {MAX_PATTERN} characters")]
    Length,
    /// A character that neither node names nor globs have.
    #[error("a node name pattern is made of a-z, 0-9, -, * and ?")]
    Character,
    /// `**`, which says no more than `*`.
    #[error("a node name pattern has no two stars in a row")]
    DoubleStar,
}

impl NodePattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name fits.
    ///
    /// All ways to match are followed at once, bit `i` of `states` meaning "the first `i` symbols
    /// of the pattern fit what was read"; 63 symbols and the start fill a word. So the time is
    /// linear in the name, whatever the pattern.
    pub fn matches(&self, name: &str) -> bool {
        let mut takes = [0u64; 128];
        let mut stars = 0u64;
        for (i, symbol) in self.0.bytes().enumerate() {
            let bit = 1u64 << i;
            match symbol {
                b'*' => stars |= bit,
                b'?' => takes.iter_mut().for_each(|mask| *mask |= bit),
                other => takes[usize::from(other & 0x7f)] |= bit,
            }
        }
        // A star may stand for nothing: whoever stands before it also stands behind it.
        let skip = |states: u64| states | (states & stars) << 1;
        let mut states = skip(1);
        for byte in name.bytes() {
            let Some(takes) = takes.get(usize::from(byte)) else {
                return false;
            };
            states = skip((states & takes) << 1 | (states & stars));
        }
        states >> self.0.len() & 1 == 1
    }
}

impl FromStr for NodePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(PatternError::Length);
        }
        if !text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'*' | b'?'))
        {
            return Err(PatternError::Character);
        }
        if text.contains("**") {
            return Err(PatternError::DoubleStar);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for NodePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodePattern({})", self.0)
    }
}

/// What an offline key may mint. The door enforces it, and the key is derived from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OfflinePolicy {
    /// The node names it may mint for.
    pub node_pattern: NodePattern,
    /// The longest time between issue and expiry of its tokens, in milliseconds.
    pub max_ttl_ms: u64,
}

/// A token that its offline key may not mint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyBreach {
    /// The node name does not fit the key's pattern.
    #[error("the signing key may only mint for node names like {pattern}")]
    NodeName {
        /// The key's pattern.
        pattern: NodePattern,
    },
    /// The token would live longer than the key may grant.
    #[error("the signing key may only mint for {} seconds at most", max_ttl_ms / 1000)]
    Ttl {
        /// The key's maximum, in milliseconds.
        max_ttl_ms: u64,
    },
}

impl OfflinePolicy {
    /// Whether a key of this policy may mint these claims.
    pub fn allows(&self, claims: &Claims) -> Result<(), PolicyBreach> {
        if !self.node_pattern.matches(&claims.node_name) {
            return Err(PolicyBreach::NodeName {
                pattern: self.node_pattern.clone(),
            });
        }
        if claims.expires_at_ms.saturating_sub(claims.issued_at_ms) > self.max_ttl_ms {
            return Err(PolicyBreach::Ttl {
                max_ttl_ms: self.max_ttl_ms,
            });
        }
        Ok(())
    }

    /// The one byte string of this policy: length and text of the pattern, then the maximum TTL
    /// in milliseconds, big-endian. Keys are derived from it: it never changes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = super::codec::Writer::default();
        bytes.text(self.node_pattern.as_str());
        bytes.u64(self.max_ttl_ms);
        bytes.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of a glob, by recursion: slow and plain.
    fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                matches_slowly(rest, name)
                    || name
                        .split_first()
                        .is_some_and(|(_, name)| matches_slowly(pattern, name))
            }
            ([b'?', pattern @ ..], [_, name @ ..]) => matches_slowly(pattern, name),
            ([p, pattern @ ..], [n, name @ ..]) => p == n && matches_slowly(pattern, name),
            _ => false,
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("edge-*", "edge-1", true),
            ("edge-*", "edge-", true),
            ("edge-*", "edge", false),
            ("edge-*", "my-edge-1", false),
            ("rack?-n*", "rack7-n12", true),
            ("rack?-n*", "rack12-n1", false),
            ("*", "anything", true),
            ("?", "ab", false),
            ("n1", "n1", true),
            ("n1", "n12", false),
            ("*a*b", "xaybzb", true),
            ("edge-*", "edge-é", false),
        ] {
            assert_eq!(
                pattern.parse::<NodePattern>().unwrap().matches(name),
                fits,
                "{pattern} {name}"
            );
        }
        let longest = format!("{}*", "a".repeat(62));
        assert!(
            longest
                .parse::<NodePattern>()
                .unwrap()
                .matches(&"a".repeat(63))
        );
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, error) in [
            ("", PatternError::Length),
            (&*"a".repeat(64), PatternError::Length),
            ("Edge", PatternError::Character),
            ("a.b", PatternError::Character),
            ("a**", PatternError::DoubleStar),
        ] {
            assert_eq!(text.parse::<NodePattern>(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{1,9}", name in "[abc]{0,12}") {
            if let Ok(parsed) = pattern.parse::<NodePattern>() {
                prop_assert_eq!(parsed.matches(&name), matches_slowly(pattern.as_bytes(), name.as_bytes()));
            }
        }
    }
}
