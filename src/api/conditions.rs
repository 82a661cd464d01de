//! The conditions of a `JoinToken` and the reasons they give, as closed sets.

use std::fmt;

/// What a condition says something about. The first five follow kstatus, so that `kubectl wait`, Flux
/// and Argo CD understand them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The operator has done what the spec asks for.
    Ready,
    /// A machine was admitted (True), or none can be any more (False).
    Succeeded,
    /// The token may be used now.
    Usable,
    /// Work is going on. Present only while it is.
    Reconciling,
    /// Work cannot go on until somebody acts. Present only while so.
    Stalled,
    /// Another key presented the token after its admission: it may have been stolen.
    Contested,
    /// The resource was created anew and took over what was recorded under its name.
    Adopted,
}

impl ConditionType {
    /// The type as `status.conditions[].type` shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Succeeded => "Succeeded",
            Self::Usable => "Usable",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Contested => "Contested",
            Self::Adopted => "Adopted",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a condition is as it is. Users' alerts and waits go by these: a released one keeps its spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionReason {
    // Where the token is in its life.
    /// Not registered yet.
    Pending,
    /// The token may be used.
    Issued,
    /// A joiner holds a claim.
    InFlight,
    /// A machine was admitted.
    Consumed,
    /// Nobody used the token in time.
    Expired,
    /// `spec.revoked` is set, or an operator revoked the token.
    Revoked,
    /// The resource was deleted while its token was unused.
    Deleted,
    /// A later revision or re-issue took the token's place.
    Superseded,
    /// As many keys as `admission.maxClaims` allows claimed the token, and another one came.
    TooManyClaims,
    /// After a restore or a loss of the store nobody can know whether the token was used.
    Restored,
    /// An operator aborted the token by hand.
    AbortedByOperator,

    // What keeps the operator from going on for a while.
    /// The store has no leader, or does not answer in time.
    StoreUnavailable,
    /// A re-issue is due, but not sooner than some minutes after the last.
    ReissueDelayed,

    // What keeps it from going on until somebody acts.
    /// The fixed fields differ from those registered for this revision.
    SpecDiffers,
    /// `spec.revision` is lower than one that was in force.
    RevisionTooLow,
    /// The status tells of more than the store knows.
    StatusAhead,
    /// A Secret of that name exists and is not the operator's.
    SecretConflict,
    /// The API server does not let the operator make the Secret.
    SecretRefused,
    /// The namespace may not use this node name.
    NameNotAllowed,
    /// The token would live longer than the store allows.
    TtlTooLong,
    /// The namespace has as many live tokens, or as many names, as the store lets it have.
    NamespaceLimit,
    /// The store refused the registration for another cause; the message says which.
    Refused,
    /// A signing key or CA is missing, or not the one that the store knows.
    KeyUnavailable,
    /// The signing key belongs to another store.
    KeyOfOtherStore,

    // Of Contested and Adopted.
    /// Another key presented the token after it was used.
    UsedByAnotherKey,
    /// What was recorded under this name is still usable.
    AdoptedLive,
    /// A token of this revision was used before.
    AdoptedConsumed,
    /// The token of this revision ended unused before.
    AdoptedEnded,
}

impl ConditionReason {
    /// The reason as `status.conditions[].reason` shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Issued => "Issued",
            Self::InFlight => "InFlight",
            Self::Consumed => "Consumed",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
            Self::Deleted => "Deleted",
            Self::Superseded => "Superseded",
            Self::TooManyClaims => "TooManyClaims",
            Self::Restored => "Restored",
            Self::AbortedByOperator => "AbortedByOperator",
            Self::StoreUnavailable => "StoreUnavailable",
            Self::ReissueDelayed => "ReissueDelayed",
            Self::SpecDiffers => "SpecDiffers",
            Self::RevisionTooLow => "RevisionTooLow",
            Self::StatusAhead => "StatusAhead",
            Self::SecretConflict => "SecretConflict",
            Self::SecretRefused => "SecretRefused",
            Self::NameNotAllowed => "NameNotAllowed",
            Self::TtlTooLong => "TtlTooLong",
            Self::NamespaceLimit => "NamespaceLimit",
            Self::Refused => "Refused",
            Self::KeyUnavailable => "KeyUnavailable",
            Self::KeyOfOtherStore => "KeyOfOtherStore",
            Self::UsedByAnotherKey => "UsedByAnotherKey",
            Self::AdoptedLive => "AdoptedLive",
            Self::AdoptedConsumed => "AdoptedConsumed",
            Self::AdoptedEnded => "AdoptedEnded",
        }
    }
}

impl fmt::Display for ConditionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
