//! The reasons of the Events that the operator writes about a `JoinToken`, as a closed set.

use std::fmt;

/// What happened. A released reason keeps its spelling: people search and alert by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventReason {
    /// A token was issued and put into its Secret.
    Issued,
    /// A token that had ended unused was issued again.
    Reissued,
    /// A joiner claimed the token.
    Claimed,
    /// A claim came to nothing; the token is Issued again.
    ClaimReverted,
    /// A machine was admitted.
    Admitted,
    /// Nobody used the token in time.
    Expired,
    /// The token was revoked, or its machine barred.
    Revoked,
    /// The token was ended unused.
    Aborted,
    /// Another key presented the token after its use.
    Contested,
    /// The resource was created anew and took over what was recorded.
    Adopted,
    /// The Secret of a live token had vanished and was made again.
    SecretRestored,
    /// The operator cannot go on until somebody acts.
    Stalled,
    /// The resource is another store's: the operator leaves it alone.
    OfAnotherStore,
    /// Another JoinToken of the namespace names the same machine.
    NodeNameShared,
}

impl EventReason {
    /// The reason as `kubectl get events` shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "Issued",
            Self::Reissued => "Reissued",
            Self::Claimed => "Claimed",
            Self::ClaimReverted => "ClaimReverted",
            Self::Admitted => "Admitted",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
            Self::Aborted => "Aborted",
            Self::Contested => "Contested",
            Self::Adopted => "Adopted",
            Self::SecretRestored => "SecretRestored",
            Self::Stalled => "Stalled",
            Self::OfAnotherStore => "OfAnotherStore",
            Self::NodeNameShared => "NodeNameShared",
        }
    }

    /// Somebody should look: the Event is a warning.
    pub const fn is_warning(self) -> bool {
        matches!(
            self,
            Self::ClaimReverted
                | Self::Contested
                | Self::SecretRestored
                | Self::Stalled
                | Self::OfAnotherStore
                | Self::NodeNameShared
        )
    }
}

impl fmt::Display for EventReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
