//! What the operator reports: a mirror of the store, never its truth.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::join_token::MAX_INTEGER;

/// What became of the token. A mirror of the operator's store: editing it changes nothing.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenStatus {
    /// The metadata.generation that this status was computed from; -1 before the operator has seen
    /// the resource at all.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,

    /// Where the token is in its life. Pending: not registered yet. Issued: it may be used. InFlight: a
    /// joiner holds a claim and its certificate is being made. Consumed: a machine was admitted.
    /// Expired: nobody used it in time. Aborted: it was ended before it was used; the conditions say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// The revision in force: the highest that was ever registered under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = MAX_INTEGER))]
    pub revision: Option<u64>,

    /// How often the token of this revision was issued again after it had ended unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0, max = u32::MAX))]
    pub reissues: Option<u32>,

    /// The public name of the token. It is no secret: logs, events and audit lines show it, and
    /// certificates of the machine carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub token_id: Option<String>,

    /// When the token was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Time>,

    /// Until when an unused token may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// When a machine was admitted with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_at: Option<Time>,

    /// How often the token was claimed. A joiner that asks again while it holds its claim does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0, max = u32::MAX))]
    pub attempts: Option<u32>,

    /// The machine: its name from the start, its address and key once it has claimed the token or
    /// was admitted with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joiner: Option<JoinerStatus>,

    /// The Secret that holds the token; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,

    /// The last time that a claim came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,

    /// The store that this status comes from, 32 lowercase hexadecimal digits. An operator of another store leaves the
    /// resource alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    pub store_id: Option<String>,

    /// Which founding, restore or recovery of the store this status comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0, max = MAX_INTEGER))]
    pub store_epoch: Option<u64>,

    /// The index in the store's log of the last change of this token. Together with storeEpoch it never
    /// falls as long as storeId is the same: a replica that is behind cannot overwrite what a newer one wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0, max = MAX_INTEGER))]
    pub store_index: Option<u64>,

    /// Ready: the operator has done what was asked for. Succeeded: a machine was admitted (True), or none
    /// can be any more (False). Usable: the token may be used now. Reconciling, Stalled: work is going on,
    /// or cannot go on until somebody acts. Contested: another key presented the token after its use, so
    /// it may have been stolen. Adopted: the resource was created again and took over what was recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// The machine that may join, claims the token, or was admitted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct JoinerStatus {
    /// The machine's name: the one in its certificate. Known as soon as the token is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node_name: Option<String>,

    /// The address from which it asked, as the operator saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub address: Option<String>,

    /// The SHA-256 of its public key (SubjectPublicKeyInfo in DER), 64 lowercase hexadecimal digits.
    #[serde(
        default,
        rename = "publicKeySha256",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 128))]
    pub public_key_sha256: Option<String>,
}

/// Why and when a claim came to nothing.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// What went wrong, one word in CamelCase.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// When.
    pub time: Time,
}

/// Where a token is in its life.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Pending,
    Issued,
    InFlight,
    Consumed,
    Expired,
    Aborted,
}

impl Phase {
    /// The phase as `status.phase` shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Issued => "Issued",
            Self::InFlight => "InFlight",
            Self::Consumed => "Consumed",
            Self::Expired => "Expired",
            Self::Aborted => "Aborted",
        }
    }

    /// The token can admit nobody any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Consumed | Self::Expired | Self::Aborted)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As kstatus expects it of a resource that no controller has looked at: less than any generation.
const fn never_observed() -> i64 {
    -1
}

impl Default for JoinTokenStatus {
    fn default() -> Self {
        Self {
            observed_generation: never_observed(),
            phase: None,
            revision: None,
            reissues: None,
            token_id: None,
            issued_at: None,
            expires_at: None,
            consumed_at: None,
            attempts: None,
            joiner: None,
            secret_name: None,
            last_failure: None,
            store_id: None,
            store_epoch: None,
            store_index: None,
            conditions: Vec::new(),
        }
    }
}
