//! What may be asked of the state. Every change of the store is one of these, one a log entry.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};

use super::outcome::{
    AbortOutcome, AcknowledgeOutcome, AdoptKeyOutcome, BeginOutcome, ConfigureOutcome,
    ConsumeOutcome, ForgetOutcome, FoundedOutcome, Outcome, RaiseRulesOutcome, RegisterOutcome,
    RevertOutcome, RevokeOutcome, SweepOutcome,
};
use super::record::{Issuance, Reason};

/// An operation and the time at which the leader proposed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Milliseconds since the Unix epoch, stamped by the leader alone. The state's own clock is
    /// the greatest `at_ms` it has seen, so time never runs backwards.
    pub at_ms: u64,
    /// What is to be done.
    pub operation: Operation,
}

/// Every operation there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Register(Register),
    Begin(Begin),
    Consume(Consume),
    Acknowledge(Acknowledge),
    Revert(Revert),
    Abort(Abort),
    Revoke(Revoke),
    Sweep(Sweep),
    Forget(Forget),
    Configure(Settings),
    AdoptKey(AdoptKey),
    Founded(Founded),
    RaiseRules(RaiseRules),
}

impl Operation {
    /// It needs this version of the rules: a release that does not know it must not go on.
    pub const fn needs_rules(&self) -> Option<u32> {
        match self {
            Self::RaiseRules(raise) => Some(raise.to),
            Self::Begin(begin) => match &begin.registration {
                Some(registration) if registration.node_name.is_some() => Some(KEEPS_NODES),
                _ => None,
            },
            Self::Configure(settings) if settings.namespaces.is_some() => Some(KEEPS_BOUNDS),
            _ => None,
        }
    }

    /// As it may be proposed while these rules are in force: without what a release that knows no others could not read.
    #[must_use]
    pub fn by_rules(mut self, rules: u32) -> Self {
        if rules < KEEPS_NODES
            && let Self::Begin(begin) = &mut self
            && let Some(registration) = &mut begin.registration
        {
            registration.node_name = None;
        }
        if let Self::Configure(settings) = self {
            self = Self::Configure(settings.by_rules(rules));
        }
        self
    }
}

impl Settings {
    /// As far as these rules know them.
    #[must_use]
    pub fn by_rules(mut self, rules: u32) -> Self {
        if rules < KEEPS_BOUNDS {
            self.namespaces = None;
        }
        self
    }
}

/// The rules by which the node of a token minted offline is kept.
pub(super) const KEEPS_NODES: u32 = 2;

/// The rules by which a joiner counts once, marks of ids stay, and what a namespace may take has bounds.
pub(super) const KEEPS_BOUNDS: u32 = 3;

/// Records the issuance of a `JoinToken` resource and lets it have a token, at most once for each
/// (namespace, name, revision, reissue).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Namespace and name of the resource.
    pub issuance: Issuance,
    /// The uid of the namespace: after a namespace was deleted and made anew, what its former
    /// inhabitants did is nobody's business.
    pub namespace_uid: String,
    /// `spec.revision`, at least 1.
    pub revision: u64,
    /// Hash of the fields that are frozen within a revision.
    pub spec_hash: [u8; 32],
    /// `spec.revoked`.
    pub revoked: bool,
    /// `spec.reissuePolicy` is `WhenUnused`.
    pub reissue_if_unused: bool,
    /// The id for the token, drawn at random by the proposer; used only when one is created.
    pub token_id: TokenId,
    /// The key that will mint the token; must be known and of purpose `Resource`.
    pub key_id: KeyId,
    /// The machine that may join, an RFC 1123 label.
    pub node_name: String,
    /// How long the token lives, from the moment of this command.
    pub ttl_ms: u64,
    /// How long a claim holds the token; `None`: as the settings say.
    pub in_flight_timeout_ms: Option<u64>,
    /// By how many joiners the token may be claimed, each counted once; `None`: by any number.
    pub max_claims: Option<u32>,
    /// Who may use the token.
    pub bindings: Bindings,
}

/// What narrows the use of a token. Empty: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    /// The joiner's address must lie in one of these, unless there are none.
    pub source_cidrs: Vec<IpNet>,
    /// The joiner's key must be this one.
    pub joiner: Option<JoinerId>,
}

/// A joiner asks for the token: claims it, renews its claim, or learns what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    pub token_id: TokenId,
    /// Who asks.
    pub joiner: JoinerId,
    /// A random id of this very request: only it may revert the claim.
    pub holder: [u8; 16],
    /// Where the request came from, as the door saw it.
    pub address: Option<IpAddr>,
    /// For every token minted without a server: what to record if it was never seen. Given also
    /// when its record is known, so that whoever holds an exported key cannot use the id of a
    /// token that another key minted.
    pub registration: Option<OfflineRegistration>,
}

/// What a verified offline (or NodeDB) token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineRegistration {
    /// Must be known and of purpose `Offline` or `NodeDb`.
    pub key_id: KeyId,
    /// `None` for NodeDB tokens, which do not say: the state's `now` is used.
    pub issued_at_ms: Option<u64>,
    pub expires_at_ms: u64,
    /// The machine that may join, an RFC 1123 label. `None` before the rules that keep it are in force.
    pub node_name: Option<String>,
}

/// Admits the joiner that holds the claim. Only when this is committed may a credential leave the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consume {
    pub token_id: TokenId,
    pub joiner: JoinerId,
    /// The attempt that `Begin` granted; fences off older claims.
    pub attempt: u32,
    /// The certificate (DER) to be delivered, kept for redelivery until it is acknowledged.
    pub leaf: Vec<u8>,
}

/// The admitted joiner has its bundle: redelivery ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledge {
    pub token_id: TokenId,
    pub joiner: JoinerId,
}

/// The request that holds the claim gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    pub token_id: TokenId,
    pub attempt: u32,
    pub holder: [u8; 16],
    /// Why, for `status.lastFailure`.
    pub failure: Failure,
}

/// Why a claimed request failed at the door. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Failure {
    /// The certificate could not be signed.
    SigningFailed = 1,
    /// What is delivered beside the certificate could not be read.
    BundleUnavailable = 2,
    /// The server was stopping or the caller had gone.
    Interrupted = 3,
}

impl Failure {
    /// The failure with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::SigningFailed),
            2 => Some(Self::BundleUnavailable),
            3 => Some(Self::Interrupted),
            _ => None,
        }
    }
}

/// Ends a live token. An unknown id gets a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    pub token_id: TokenId,
    pub reason: Reason,
    /// How long a tombstone must stay: the token's own expiry where the token is given. `None`: for ever. It stays
    /// as long as a certificate may live at least. (By earlier rules `None` was `now` + the longest that any token
    /// could live, by the limits of that moment.)
    pub keep_until_ms: Option<u64>,
}

/// As [`Abort`]; a machine that was admitted is barred from further certificates as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoke {
    pub token_id: TokenId,
    pub reason: Reason,
    pub keep_until_ms: Option<u64>,
}

/// Does what time has made due, in order of time, and forgets what may be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// At most so many records in one command.
    pub limit: u32,
}

/// Forgets what became of a resource's issuances, so that its name may be used afresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    pub issuance: Issuance,
}

/// Every limit, window and age that `apply` goes by. Milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The longest that any token may live. Default 7 days. Whoever raises it lets in tokens that
    /// were refused as too long before, but none that was aborted.
    pub max_token_ttl_ms: u64,
    /// How far in the future a token's issued-at may lie. Default 5 minutes.
    pub max_clock_skew_ms: u64,
    /// How long a claim holds a token that does not say itself. Default 5 minutes.
    pub in_flight_timeout_ms: u64,
    /// How long, from its admission, an admitted joiner may have its answer again. Default 24 hours.
    pub redelivery_window_ms: u64,
    /// How long a terminal record stays at least. Default 7 days.
    pub retention_ms: u64,
    /// The longest lifetime of a member's certificate. Default 7 days.
    pub longest_certificate_lifetime_ms: u64,
    /// How long after an issuance the next reissue may follow. Default 10 minutes.
    pub reissue_interval_ms: u64,
    /// The admission of a later issuance bars the machine of the former one. Default true.
    pub supersede: bool,
    /// How long what became of a vanished issuance is remembered; `None` (the default): until `Forget`.
    pub remember_issuances_ms: Option<u64>,
    /// How much a namespace may take. `None`: as by the rules before the third, which know no such bounds.
    pub namespaces: Option<NamespaceLimits>,
}

/// How much each namespace may take of the store, so that no tenant fills it. Of a namespace that was deleted and made
/// anew only what is its own counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceLimits {
    /// So many tokens of JoinTokens may be live at once. Default 10,000, at least 1.
    pub live_tokens: u32,
    /// So many names of JoinTokens are remembered, deleted ones too. Default 100,000, at least 1.
    pub names: u32,
}

impl Default for NamespaceLimits {
    /// A thousand machines a day for a quarter of a year. A namespace that is full takes some 20 MB.
    fn default() -> Self {
        Self {
            live_tokens: 10_000,
            names: 100_000,
        }
    }
}

/// Makes a signing key known. Only keys of this store's own are accepted at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptKey {
    pub key_id: KeyId,
    pub purpose: Purpose,
    pub fingerprint: Fingerprint,
    /// For `Offline` and `NodeDb` keys: the longest life of their tokens, at most `max_token_ttl_ms` counts.
    pub max_ttl_ms: Option<u64>,
    /// For `Offline` keys: which node names the key may mint for (a glob, see the token room).
    pub node_pattern: Option<String>,
}

/// The store's birth certificate; the first command of every store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founded {
    pub store_id: StoreId,
    /// Grows with each founding, restore or recovery. At least 1.
    pub epoch: u64,
    /// The trust domain that all names end in; fixed from here on.
    pub trust_domain: String,
    /// What was made while founding: (role, fingerprint), e.g. `("door-ca", …)`, sorted by role.
    pub fingerprints: Vec<(String, Fingerprint)>,
}

/// From here on the state goes by later rules: there is no way back to a release that does not know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaiseRules {
    /// The version of the rules.
    pub to: u32,
}

/// An operation whose outcome has a type of its own.
pub trait Typed: Into<Operation> {
    type Outcome;
    /// The outcome of this kind of operation; `None` if it is of another kind, which `apply` never returns.
    fn outcome(outcome: Outcome) -> Option<Self::Outcome>;
}

macro_rules! typed {
    ($($operation:ident($payload:ty) => $outcome:ty;)*) => {$(
        impl From<$payload> for Operation {
            fn from(payload: $payload) -> Self {
                Self::$operation(payload)
            }
        }
        impl Typed for $payload {
            type Outcome = $outcome;
            fn outcome(outcome: Outcome) -> Option<$outcome> {
                match outcome {
                    Outcome::$operation(outcome) => Some(outcome),
                    _ => None,
                }
            }
        }
    )*};
}

typed! {
    Register(Register) => RegisterOutcome;
    Begin(Begin) => BeginOutcome;
    Consume(Consume) => ConsumeOutcome;
    Acknowledge(Acknowledge) => AcknowledgeOutcome;
    Revert(Revert) => RevertOutcome;
    Abort(Abort) => AbortOutcome;
    Revoke(Revoke) => RevokeOutcome;
    Sweep(Sweep) => SweepOutcome;
    Forget(Forget) => ForgetOutcome;
    Configure(Settings) => ConfigureOutcome;
    AdoptKey(AdoptKey) => AdoptKeyOutcome;
    Founded(Founded) => FoundedOutcome;
    RaiseRules(RaiseRules) => RaiseRulesOutcome;
}

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_token_ttl_ms: 7 * DAY_MS,
            max_clock_skew_ms: 5 * MINUTE_MS,
            in_flight_timeout_ms: 5 * MINUTE_MS,
            redelivery_window_ms: DAY_MS,
            retention_ms: 7 * DAY_MS,
            longest_certificate_lifetime_ms: 7 * DAY_MS,
            reissue_interval_ms: 10 * MINUTE_MS,
            supersede: true,
            remember_issuances_ms: None,
            namespaces: Some(NamespaceLimits::default()),
        }
    }
}
