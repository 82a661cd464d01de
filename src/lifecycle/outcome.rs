//! What an operation came to. `apply` returns it: nothing is read back afterwards, so there is no race to lose.

use std::net::IpAddr;

use crate::token::{JoinerId, KeyId, Purpose, StoreId, TokenId};

use super::command::Settings;
use super::record::{Issuance, IssuanceEntry, Phase, Reason, Record};
use super::restored::Restored;

/// What one command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The state's clock after the command.
    pub now_ms: u64,
    pub outcome: Outcome,
    /// Every change of a record, in the order in which they happened; the audit is written from these.
    pub transitions: Vec<Transition>,
    /// What changed beside records; for the audit, too.
    pub house: Option<HouseChange>,
}

/// The store as a whole changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HouseChange {
    /// It was founded: its first change.
    Founded,
    /// From now on a key's tokens are good.
    KeyAdopted { key_id: KeyId, purpose: Purpose },
    /// Other limits are in force.
    Configured,
    /// Later rules are in force.
    RulesRaised { to: u32 },
    /// What became of a resource's issuances is forgotten.
    NameForgotten(Issuance),
    /// It was restored from a former store's snapshot, offline: no command does this.
    Restored {
        /// This store, as of the restore.
        store_id: StoreId,
        epoch: u64,
        from: Restored,
    },
}

/// A record changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub token_id: TokenId,
    /// The resource, if the token has one.
    pub issuance: Option<Issuance>,
    /// `None`: the record is new.
    pub from: Option<Phase>,
    /// `None`: the record was forgotten.
    pub to: Option<Phase>,
    pub cause: Cause,
    /// Who holds the claim or was admitted, after the change, and from where.
    pub joiner: Option<JoinerId>,
    pub address: Option<IpAddr>,
}

/// Why a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Registered,
    Claimed,
    /// The same joiner asked again while its claim held.
    ClaimRenewed,
    Admitted,
    Acknowledged,
    Reverted,
    /// The claim's deadline passed.
    ClaimLapsed,
    Expired,
    Aborted(Reason),
    Barred(Reason),
    /// Another key presented the token after its admission.
    Contested,
    /// The time for redelivery is over.
    RedeliveryEnded,
    Forgotten,
}

/// The outcome of an operation, by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Register(RegisterOutcome),
    Begin(BeginOutcome),
    Consume(ConsumeOutcome),
    Acknowledge(AcknowledgeOutcome),
    Revert(RevertOutcome),
    Abort(AbortOutcome),
    Revoke(RevokeOutcome),
    Sweep(SweepOutcome),
    Forget(ForgetOutcome),
    Configure(ConfigureOutcome),
    AdoptKey(AdoptKeyOutcome),
    Founded(FoundedOutcome),
    RaiseRules(RaiseRulesOutcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// A new record: Issued, or Aborted(revoked) when the resource is revoked (then there is no token).
    Created(Box<Record>),
    /// The revision is recorded. `reissue_not_before_ms`: a re-issue was asked for and is allowed from then on.
    /// `namespace_differs`: it was recorded for a namespace of this name but another uid, so who
    /// joined then is not to be told.
    Existing {
        record: Box<Record>,
        reissue_not_before_ms: Option<u64>,
        namespace_differs: bool,
    },
    /// The revision is recorded, its record forgotten; nothing is minted.
    Remembered(Box<IssuanceEntry>),
    /// The frozen fields differ from those recorded for this revision.
    SpecDiffers(Box<IssuanceEntry>),
    /// A higher revision is recorded and in force.
    Superseded(Box<IssuanceEntry>),
    Refused(Refusal),
}

/// Why a registration cannot be: nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such key was adopted.
    UnknownKey(KeyId),
    /// The key is not for this.
    KeyPurpose(KeyId),
    /// It would live longer than the limit (milliseconds).
    TtlTooLong { limit_ms: u64 },
    /// It says that it was issued in the future.
    IssuedInFuture,
    /// It expires before it is issued.
    Empty,
    /// A field is longer than the state keeps.
    FieldTooLong,
    /// The token id is in use for something else.
    IdInUse,
    /// The store is not founded yet.
    NotFounded,
    /// The namespace has as much of this as it may.
    NamespaceFull { of: NamespaceBound, limit: u32 },
}

/// What a namespace may have only so much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceBound {
    /// Tokens of JoinTokens that are live.
    LiveTokens,
    /// Names of JoinTokens that are remembered.
    Names,
}

impl Refusal {
    /// For metrics: a closed set.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::UnknownKey(_) => "unknown_key",
            Self::KeyPurpose(_) => "key_purpose",
            Self::TtlTooLong { .. } => "ttl_too_long",
            Self::IssuedInFuture => "issued_in_future",
            Self::Empty => "empty",
            Self::FieldTooLong => "field_too_long",
            Self::IdInUse => "id_in_use",
            Self::NotFounded => "not_founded",
            Self::NamespaceFull {
                of: NamespaceBound::LiveTokens,
                ..
            } => "namespace_live_tokens",
            Self::NamespaceFull {
                of: NamespaceBound::Names,
                ..
            } => "namespace_names",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeginOutcome {
    /// The claim is the joiner's; sign, then `Consume` with `attempt`. Dates of the certificate are counted from `now_ms`.
    Granted {
        attempt: u32,
        deadline_ms: u64,
        now_ms: u64,
        record: Box<Record>,
    },
    /// This joiner was admitted: the very same certificate again.
    Redeliver {
        leaf: Vec<u8>,
        record: Box<Record>,
    },
    /// Another joiner holds the claim until then.
    ClaimConflict {
        until_ms: u64,
    },
    AlreadyConsumed,
    /// This joiner was admitted and then barred.
    Revoked,
    Expired,
    Aborted(Reason),
    NotFound,
    /// The token may not be used from this address or with this key. Nothing was claimed.
    NotAllowed(Binding),
    /// The registration that came along was refused.
    Refused(Refusal),
}

/// Which binding did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    SourceAddress,
    PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumeOutcome {
    /// Admitted, now or before: `leaf` is the certificate to deliver (the one kept first).
    Admitted {
        leaf: Vec<u8>,
        record: Box<Record>,
    },
    StaleClaim,
    AlreadyConsumed,
    Revoked,
    Expired,
    Aborted(Reason),
    NotFound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcknowledgeOutcome {
    Done,
    NotAdmitted,
    NotFound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevertOutcome {
    Done,
    StaleClaim,
    AlreadyConsumed,
    NotFound,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AbortOutcome {
    /// It is terminal now, or was, without an admission.
    Done(Box<Record>),
    AlreadyConsumed(Box<Record>),
    /// The id was unknown: it can never be used now.
    Tombstone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokeOutcome {
    Done(Box<Record>),
    /// The admitted machine gets no further certificate.
    Barred(Box<Record>),
    Tombstone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepOutcome {
    /// Records whose phase or leaf changed.
    pub changed: u32,
    /// Records and issuance entries that are gone.
    pub forgotten: u32,
    /// More is due: sweep again.
    pub more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgetOutcome {
    Done,
    /// Its token is live: abort it first.
    Live,
    NotFound,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigureOutcome {
    Changed,
    Unchanged,
    /// A setting makes no sense; nothing was changed.
    Refused(Box<Settings>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptKeyOutcome {
    Adopted,
    /// The same key was adopted before.
    Known,
    /// A key of this id with another fingerprint, purpose or policy is known, or this fingerprint
    /// under another id: the holder of an exported key must not be able to mint as another.
    Conflict,
    /// A field is longer than the state keeps.
    Refused,
    /// There are as many keys as there can be, or as many exported ones.
    Full,
    /// The fingerprint belongs to a key that a restore retired.
    Retired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaiseRulesOutcome {
    Raised,
    /// They were in force already, or later ones.
    Known,
    /// This release does not know them: whoever applies entries has to stop before this one.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundedOutcome {
    Founded,
    /// It was founded like this before.
    Known,
    /// It was founded otherwise.
    Conflict,
    /// The epoch is 0, a field is longer than the state keeps, or the roles are not sorted.
    Refused,
}
