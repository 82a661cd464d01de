//! What a user asks for.

// Two columns of the same type are no repeated attribute; clippy takes them for one.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::JoinTokenStatus;

/// The greatest integer that every JSON reader keeps exactly (2^53 - 1): tools that read numbers as
/// doubles would otherwise see a difference where there is none.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// What the name of every token's Secret ends in, and what the default name adds to the resource's.
///
/// Whoever may create JoinTokens makes the operator create Secrets. With a free choice of the name they could put one
/// where something else looks for its own: a controller's password, a signing key of the operator.
const SECRET_SUFFIX: &str = "-join-token";

/// What is asked for: which machine may join, for how long, under which conditions. All of it may be
/// left out: the token then admits a machine named as the resource is, within an hour.
///
/// nodeName, ttlSeconds, admission and secretName describe one token and are fixed within a revision.
/// To change them, or to get a new token after one was used, raise revision.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "jointoken.io",
    version = "v1alpha1",
    kind = "JoinToken",
    plural = "jointokens",
    shortname = "jt",
    namespaced,
    status = "JoinTokenStatus",
    derive = "PartialEq",
    doc = "A JoinToken lets one machine into a clustered system, once. The operator registers a token in its replicated store, puts it into a Secret, and mirrors the token's life into the status: Issued, InFlight, Consumed, Expired or Aborted. Whoever holds the token may join; it admits at most one key.",
    selectable = ".status.phase",
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where the token is in its life"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        json_path = ".status.joiner.nodeName",
        description = "The name of the machine that may join or has joined"
    ),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.expiresAt",
        description = "When an unused token ends"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why the resource is in the state it is in",
        priority = 1
    ),
    printcolumn(
        name = "Joiner",
        type_ = "string",
        json_path = ".status.joiner.address",
        description = "The address from which the token was used",
        priority = 1
    ),
    printcolumn(
        name = "Consumed",
        type_ = "date",
        json_path = ".status.consumedAt",
        description = "How long ago the machine was admitted",
        priority = 1
    ),
    printcolumn(
        name = "Token ID",
        type_ = "string",
        json_path = ".status.tokenId",
        description = "The public name of the token",
        priority = 1
    ),
    printcolumn(
        name = "Revision",
        type_ = "integer",
        json_path = ".status.revision",
        description = "The revision in force",
        priority = 1
    ),
    printcolumn(
        name = "Secret",
        type_ = "string",
        json_path = ".status.secretName",
        description = "The Secret that holds the token",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenSpec {
    /// Which operator serves the resource: the one that was started with this --class, an RFC 1123 label of at most 63
    /// characters. It is fixed for the life of the resource. Default: none, the resource is that of the operator
    /// without a class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub class_name: Option<String>,

    /// The name of the machine that may join, an RFC 1123 label: a-z, 0-9 and '-', at most 63
    /// characters. It becomes part of the names in the machine's certificate.
    /// Default: the name of the resource. Fixed within a revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub node_name: Option<String>,

    /// How long the token may be used after it was issued, in seconds: 60 (one minute) to 604800
    /// (seven days). An unused token then becomes Expired. Default: 3600, one hour.
    /// Fixed within a revision.
    #[serde(default = "default_ttl_seconds")]
    #[schemars(with = "i32", range(min = 60, max = 604_800))]
    pub ttl_seconds: u32,

    /// Which token of this resource is asked for. Each revision has one token of its own; raising the
    /// number ends the one before, if it is still unused, and has a new one issued. A number lower than
    /// one that was in force is ignored, and the conditions say so. Deleting and re-creating the resource
    /// with a revision that was used never issues another token. Default: 1.
    #[serde(default = "default_revision")]
    #[schemars(with = "i64", range(min = 1, max = MAX_INTEGER))]
    pub revision: u64,

    /// What happens when the token ended without having been used. Never: nothing, raise revision to
    /// have a new one. WhenUnused: a token that expired, or that was deleted with its resource, is
    /// issued again, at most every ten minutes; status.reissues counts how often. A used or revoked
    /// token is never issued again. Default: Never.
    #[serde(default)]
    pub reissue_policy: ReissuePolicy,

    /// Set to true to revoke: an unused token ends at once, and a machine that was admitted with it gets
    /// no further certificate (the one it has goes on being valid until it expires). It cannot be
    /// taken back within a revision. Default: false.
    #[serde(default)]
    pub revoked: bool,

    /// What narrows the use of the token. Default: whoever holds it may use it, from anywhere.
    /// Fixed within a revision.
    #[serde(default)]
    pub admission: Admission,

    /// The name of the Secret in the same namespace that receives the token, under the keys token,
    /// ca.crt, url and join-command. It ends in "-join-token". A Secret of that name that the operator did
    /// not make is never overwritten. Default: the name of the resource followed by "-join-token".
    /// Fixed within a revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,

    /// What becomes of the Secret when the token can no longer be used. Scrub: it is deleted.
    /// Keep: it stays, with a token that is worth nothing any more, until the resource is deleted.
    /// Default: Scrub.
    #[serde(default)]
    pub secret_retention: SecretRetention,
}

/// What narrows the use of a token.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// How many different keys may claim the token before it is aborted. A claim is a joiner's request that
    /// passed all checks. Each key counts once, however often its connection breaks and it asks again; of more
    /// than 64 keys, each claim of the later ones counts. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 1_000_000))]
    pub max_claims: Option<u32>,

    /// How long a joiner's claim holds the token while its certificate is being made, in seconds: 60 to
    /// 604800. A claim that is not completed by then, because the server crashed, say, lapses and the
    /// token is Issued again. Default: 300, five minutes.
    #[serde(default = "default_in_flight_timeout_seconds")]
    #[schemars(with = "i32", range(min = 60, max = 604_800))]
    pub in_flight_timeout_seconds: u32,

    /// The networks from which the token may be used, at most 16, such as 192.0.2.0/24 or 2001:db8::/32.
    /// What counts is the address as the operator sees it, so no network address translation may lie
    /// in between. A request from elsewhere is refused and does not use the token.
    /// Default: any address.
    #[serde(
        default,
        rename = "sourceCIDRs",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 16), inner(length(max = 64)))]
    pub source_cidrs: Option<Vec<String>>,

    /// The only key that may join: the SHA-256 of the joiner's public key (its SubjectPublicKeyInfo in
    /// DER), as 64 lowercase hexadecimal digits. With it a stolen token is worth nothing.
    /// `openssl pkey -in key.pem -pubout -outform DER | sha256sum` prints it. Default: any key.
    #[serde(
        default,
        rename = "publicKeySha256",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 128))]
    pub public_key_sha256: Option<String>,
}

/// What happens when a token ended unused.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReissuePolicy {
    #[default]
    Never,
    WhenUnused,
}

/// What becomes of the Secret of a token that can no longer be used.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretRetention {
    #[default]
    Scrub,
    Keep,
}

const fn default_ttl_seconds() -> u32 {
    3600
}

const fn default_revision() -> u64 {
    1
}

const fn default_in_flight_timeout_seconds() -> u32 {
    300
}

impl Default for JoinTokenSpec {
    fn default() -> Self {
        Self {
            class_name: None,
            node_name: None,
            ttl_seconds: default_ttl_seconds(),
            revision: default_revision(),
            reissue_policy: ReissuePolicy::default(),
            revoked: false,
            admission: Admission::default(),
            secret_name: None,
            secret_retention: SecretRetention::default(),
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            max_claims: None,
            in_flight_timeout_seconds: default_in_flight_timeout_seconds(),
            source_cidrs: None,
            public_key_sha256: None,
        }
    }
}

impl JoinToken {
    /// The name of the machine that may join: `spec.nodeName`, or else the resource's own.
    pub fn node_name(&self) -> String {
        self.spec
            .node_name
            .clone()
            .unwrap_or_else(|| self.name_any())
    }

    /// The name of the Secret: `spec.secretName`, or else one made of the resource's own.
    pub fn secret_name(&self) -> String {
        self.spec
            .secret_name
            .clone()
            .unwrap_or_else(|| format!("{}{SECRET_SUFFIX}", self.name_any()))
    }
}

/// A token's Secret may have this name: an RFC 1123 subdomain that ends in `-join-token`.
///
/// The rules of the API server say the same of the spec; of a status they say nothing, and a name that is none
/// (`../../other/secrets/x`) would lead elsewhere when it is put into a path.
pub fn is_secret_name(name: &str) -> bool {
    name.ends_with(SECRET_SUFFIX) && is_resource_name(name)
}

/// A resource can have this name: an RFC 1123 subdomain.
pub fn is_resource_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = label.as_bytes();
        bytes.first().is_some_and(is_alphanumeric)
            && bytes.last().is_some_and(is_alphanumeric)
            && bytes
                .iter()
                .all(|byte| is_alphanumeric(byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_tokens_secrets_are_taken() {
        for good in ["n1-join-token", "a.b-join-token", "7-join-token"] {
            assert!(is_secret_name(good), "{good}");
        }
        let long = format!("{}-join-token", "a".repeat(243));
        for bad in [
            "",
            "-join-token",
            "join-token",
            "n1",
            "n1-join-token2",
            "N1-join-token",
            "a..b-join-token",
            ".-join-token",
            "../../other/secrets/n1-join-token",
            "x?dryRun=All&y=-join-token",
            "x%2e-join-token",
            "n1-join-token\n",
            &long,
        ] {
            assert!(!is_secret_name(bad), "{bad}");
        }
    }
}
