//! What of a spec is fixed within a revision, as the store takes it.

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::api::{JoinToken, ReissuePolicy};
use crate::lifecycle::command::{Bindings, Register};
use crate::token::{JoinerId, KeyId, TokenId};

use super::view::issuance_of;

/// Separates this hash from every other use of SHA-256.
const HASH_DOMAIN: &[u8] = b"jointoken frozen fields v1";

/// A field that the API server's rules let pass and the store cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldError {
    #[error("spec.admission.sourceCIDRs: {0:?} is not a network")]
    SourceCidr(String),
    #[error("spec.admission.publicKeySha256 is not 64 lowercase hexadecimal digits")]
    PublicKey,
}

/// The hash of the fields that are fixed within a revision, each as it is meant: what is left out
/// and what is spelled out as the default are the same.
///
/// It is kept in the store for as long as the resource's name is, so it never changes.
pub(super) fn spec_hash(resource: &JoinToken) -> [u8; 32] {
    let admission = &resource.spec.admission;
    let mut hash = Fields(Sha256::new_with_prefix(HASH_DOMAIN));
    hash.text(&resource.node_name());
    hash.number(resource.spec.ttl_seconds.into());
    hash.text(&resource.secret_name());
    hash.option(admission.max_claims, |hash, claims| {
        hash.number(claims.into());
    });
    hash.number(admission.in_flight_timeout_seconds.into());
    let cidrs = admission.source_cidrs.as_deref().unwrap_or_default();
    hash.number(u64::try_from(cidrs.len()).unwrap_or(u64::MAX));
    for cidr in cidrs {
        hash.text(cidr);
    }
    hash.option(admission.public_key_sha256.as_deref(), Fields::text);
    hash.0.finalize().into()
}

/// A hash over fields, each told from its neighbours by its length.
struct Fields(Sha256);

impl Fields {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.0.update(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// The registration of the resource as it stands.
pub(super) fn registration(
    resource: &JoinToken,
    namespace_uid: &str,
    token_id: TokenId,
    key_id: KeyId,
) -> Result<Register, FieldError> {
    let spec = &resource.spec;
    let cidrs = spec.admission.source_cidrs.as_deref().unwrap_or_default();
    let source_cidrs = cidrs
        .iter()
        .map(|cidr| {
            cidr.parse::<IpNet>()
                .map_err(|_| FieldError::SourceCidr(cidr.clone()))
        })
        .collect::<Result<_, _>>()?;
    let joiner = match &spec.admission.public_key_sha256 {
        Some(digits) => Some(
            digits
                .parse::<JoinerId>()
                .map_err(|_| FieldError::PublicKey)?,
        ),
        None => None,
    };
    Ok(Register {
        issuance: issuance_of(resource),
        namespace_uid: namespace_uid.to_owned(),
        revision: spec.revision,
        spec_hash: spec_hash(resource),
        revoked: spec.revoked,
        reissue_if_unused: spec.reissue_policy == ReissuePolicy::WhenUnused,
        token_id,
        key_id,
        node_name: resource.node_name(),
        ttl_ms: u64::from(spec.ttl_seconds) * 1_000,
        in_flight_timeout_ms: Some(u64::from(spec.admission.in_flight_timeout_seconds) * 1_000),
        max_claims: spec.admission.max_claims,
        bindings: Bindings {
            source_cidrs,
            joiner,
        },
    })
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use serde_json::{Value, json};

    use super::*;

    fn hash(spec: Value) -> String {
        let resource = json!({
            "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
            "metadata": { "name": "n1" }, "spec": spec,
        });
        HEXLOWER.encode(&spec_hash(&serde_json::from_value(resource).unwrap()))
    }

    /// The store keeps the hash for as long as the name: another one for the same spec would stall
    /// resources as `SpecDiffers` after an upgrade.
    #[test]
    fn the_hash_of_a_spec_never_changes() {
        assert_eq!(
            hash(json!({})),
            "a5fc8ef9ce2c497966f261c696c950d1b9245589b2f7899cecfaaec67807185d"
        );
        let full = json!({
            "nodeName": "n2", "ttlSeconds": 60, "secretName": "s",
            "admission": {
                "maxClaims": 2, "inFlightTimeoutSeconds": 90,
                "sourceCIDRs": ["192.0.2.0/24", "2001:db8::/32"], "publicKeySha256": "05".repeat(32),
            },
        });
        assert_eq!(
            hash(full),
            "e3126874482e3b95aeeb9abf06e10632baff1de772baeaaf96ae6c37f8240bd4"
        );
    }

    #[test]
    fn every_frozen_field_counts_and_no_other() {
        let plain = hash(json!({}));
        let cidrs = |cidrs: Value| json!({ "admission": { "sourceCIDRs": cidrs } });
        let different = [
            json!({ "nodeName": "n2" }),
            json!({ "ttlSeconds": 60 }),
            json!({ "secretName": "s" }),
            json!({ "admission": { "maxClaims": 1 } }),
            json!({ "admission": { "inFlightTimeoutSeconds": 60 } }),
            json!({ "admission": { "publicKeySha256": "05".repeat(32) } }),
            cidrs(json!(["10.0.0.0/8"])),
            cidrs(json!(["10.0.0.0/8", "11.0.0.0/8"])),
        ];
        let mut hashes: Vec<String> = different.map(hash).into();
        hashes.push(plain.clone());
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 9);
        for same in [
            json!({ "nodeName": "n1", "ttlSeconds": 3600, "secretName": "n1-join-token" }),
            json!({ "admission": { "inFlightTimeoutSeconds": 300 } }),
            json!({ "revision": 2, "revoked": true, "reissuePolicy": "WhenUnused", "secretRetention": "Keep" }),
        ] {
            assert_eq!(hash(same), plain);
        }
    }
}
