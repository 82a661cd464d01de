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

/// The signing keys that the store knows, in order of their ids.
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
}

/// The machine's clock is followed from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptClockResponse {
    /// How far ahead of the time in use it was, in seconds; absent if it was followed already.
    pub step_seconds: Option<u64>,
}

/// Why a request was refused, in one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    pub message: String,
    /// The same request may succeed later.
    pub retry: bool,
}
