//! What goes over the socket.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Asks for a new offline key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportKeyRequest {
    /// Which node names the key may mint for, a glob such as `edge-*`.
    pub node_pattern: String,
    /// The longest that its tokens may live, in seconds.
    pub max_ttl_seconds: u64,
}

/// A new offline key. Whoever has it can mint what its policy allows.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "camelCase")]
pub struct ExportKeyResponse {
    /// The key's public name.
    pub key_id: String,
    /// The one line that `jointoken create --key-file` reads.
    pub key_file: String,
}

impl fmt::Debug for ExportKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportKeyResponse")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The signing keys that the store knows: those in force in order of their ids, then the retired ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysResponse {
    pub keys: Vec<KnownKey>,
}

/// A signing key that the store knows. The store does not have the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownKey {
    /// Its public name.
    pub key_id: String,
    /// `resource`, `offline` or `nodedb`.
    pub purpose: String,
    /// SHA-256 of the key.
    pub fingerprint: String,
    /// The longest that its tokens may live; nothing but the store's own limit for `resource`.
    pub max_ttl_seconds: Option<u64>,
    /// Which node names it may mint for, of `offline` keys.
    pub node_pattern: Option<String>,
    /// It was in force before the store was restored: its tokens are refused, and it is never adopted again.
    #[serde(default)]
    pub retired: bool,
}

/// The machine's clock is followed from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptClockResponse {
    /// How far ahead of the time in use it was, in seconds; absent if it was followed already.
    pub step_seconds: Option<u64>,
    /// How far the store's clock is ahead even so, in seconds, if nothing is registered or claimed because of that.
    pub store_ahead_seconds: Option<u64>,
}

/// What a replica knows of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MembersResponse {
    /// The number of the last election that the replica knows of.
    pub term: u64,
    /// Node id of the leader, if one is known: the last of which it is known, also when it is silent by now.
    pub leader: Option<String>,
    /// It is the asked replica itself, or was heard of within the last 3 seconds.
    pub leader_is_heard: bool,
    /// As many voters, itself included, as it takes to commit anything were heard of within the last 3 seconds.
    pub majority_is_heard: bool,
    /// The asked replica is fit to serve, as its `/readyz` says; always said by a release that knows it.
    #[serde(default)]
    pub is_ready: Option<bool>,
    /// A change of the voters is under way: until it is done, it takes a majority of the former and one of the new ones.
    pub is_changing: bool,
    pub members: Vec<MemberOfGroup>,
}

/// What a replica knows of a member of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberOfGroup {
    /// 16 hexadecimal digits; a replica that lost its data comes back with another.
    pub node_id: String,
    pub address: String,
    /// `leader`, `voter` or `learner` (is sent the log and does not vote yet).
    pub role: String,
    /// It is the replica that was asked.
    pub is_asked: bool,
    /// Up to which entry its log is known to agree with the leader's; of others only the leader knows it.
    pub matched: Option<u64>,
    /// The last entry that it said to have applied.
    pub applied: Option<u64>,
    /// How many entries it had not applied when it was last heard of.
    pub lag: Option<u64>,
    /// How long ago it was heard of, in milliseconds; absent: never since the asked replica has started.
    pub heard_ms_ago: Option<u64>,
    /// How far its clock is ahead of that of the asked replica, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// `ok`, `silent` (not heard of for 3 seconds), `behind` (more than 1000 entries), `stalled` (heard of, and yet it is not served
    /// its log, does not come on with it, or nothing is committed), `incomplete` (of the asked replica: its log lacks what is known
    /// to be committed), or `clock` (more than 30 seconds off).
    pub health: String,
}

/// Removes members of the group for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveMembersRequest {
    pub node_ids: Vec<String>,
    /// Though no majority of those that are left is there.
    #[serde(default)]
    pub force: bool,
}

/// Which rules the store goes by, and which the replicas know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RulesResponse {
    /// The rules that are in force.
    pub in_force: u32,
    /// The latest that every replica knows that was heard of a moment ago.
    pub known_to_all: u32,
    /// Ids of members that were not heard of a moment ago.
    pub unheard: Vec<String>,
}

/// They are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveMembersResponse {}

/// Which tokens are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokensQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Namespace and name of the JoinToken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The machine's name; known of JoinTokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Id of the signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The last id of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many, 1 to 1000.
    pub limit: usize,
}

/// Some tokens, in order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokensResponse {
    pub tokens: Vec<TokenView>,
    /// To be given as `after` for the next page; absent when there is none.
    pub next: Option<String>,
}

/// What the store knows of a token. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    pub token_id: String,
    /// `Issued`, `InFlight`, `Consumed`, `Expired` or `Aborted`.
    pub phase: String,
    /// `resource`, `offline` or `nodedb`; absent of a token that was ended before it was seen.
    pub purpose: Option<String>,
    pub key_id: Option<String>,
    /// The JoinToken that it is of, if it is of one.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub revision: Option<u64>,
    pub reissue: Option<u32>,
    /// The machine's name; of a token minted offline while somebody holds it, unless its holder came before the store's second rules.
    pub node: Option<String>,
    pub issued_at: Option<String>,
    pub expires_at: Option<String>,
    /// When it was used, expired or was ended.
    pub ended_at: Option<String>,
    /// Why it was ended before it was used.
    pub aborted: Option<String>,
    pub attempts: u32,
    /// Who holds a claim on it.
    pub claim: Option<ClaimView>,
    /// Who was admitted by it.
    pub member: Option<MemberView>,
    /// Another key presented it after its use.
    pub contested: bool,
}

/// A claim on a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimView {
    pub public_key_sha256: String,
    pub address: Option<String>,
    pub until: Option<String>,
}

/// An admitted machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    pub public_key_sha256: String,
    pub address: Option<String>,
    pub admitted_at: Option<String>,
    /// It has not acknowledged its certificate and may have it again.
    pub may_ask_again: bool,
    /// It gets no further certificate, and why.
    pub barred: Option<String>,
}

/// Ends a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndRequest {
    /// The caller has the token, and it is of jointoken's own format.
    #[serde(default)]
    pub is_ours: bool,
    /// The token's own expiry, milliseconds since the epoch, if it is known.
    #[serde(default)]
    pub expires_at_ms: Option<u64>,
}

/// What became of a token that was to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// It admits nobody, now or before.
    Ended,
    /// It was used before it could be ended.
    AlreadyConsumed,
    /// The machine that it admitted gets no further certificate.
    Barred,
    /// The store had never seen it; it will admit nobody.
    Tombstone,
}

impl Ended {
    /// For logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::AlreadyConsumed => "already consumed",
            Self::Barred => "barred",
            Self::Tombstone => "tombstone",
        }
    }
}

/// What became of it, and what the store knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndResponse {
    pub ended: Ended,
    pub token: Option<TokenView>,
}

/// Has the store forget what became of a JoinToken of this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForgetRequest {
    pub namespace: String,
    pub name: String,
}

/// It is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetResponse {}

/// Why a request was refused, in one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    pub message: String,
    /// The same request may succeed later.
    pub retry: bool,
}
