//! How much of everything the state keeps. What is longer was never acceptable to Kubernetes or
//! DNS either; the bounds are here so that no command can make the state grow without limit.

use super::command::{AdoptKey, Founded, Register, Settings};

/// A namespace is an RFC 1123 label.
const NAMESPACE_BYTES: usize = 63;
/// A resource's name is an RFC 1123 subdomain.
const NAME_BYTES: usize = 253;
/// A uid of Kubernetes is a UUID in text: 36.
const UID_BYTES: usize = 64;
/// A node's name is an RFC 1123 label.
const NODE_NAME_BYTES: usize = 63;
const SOURCE_CIDRS: usize = 16;
const PATTERN_BYTES: usize = 253;
const TRUST_DOMAIN_BYTES: usize = 253;
const ROLES: usize = 32;
const ROLE_BYTES: usize = 64;
/// Signing keys ever adopted.
pub(super) const KEYS: usize = 4096;

impl Register {
    pub(super) fn fits(&self) -> bool {
        self.issuance.namespace.len() <= NAMESPACE_BYTES
            && self.issuance.name.len() <= NAME_BYTES
            && self.namespace_uid.len() <= UID_BYTES
            && self.node_name.len() <= NODE_NAME_BYTES
            && self.bindings.source_cidrs.len() <= SOURCE_CIDRS
    }
}

impl AdoptKey {
    pub(super) fn fits(&self) -> bool {
        self.node_pattern
            .as_ref()
            .is_none_or(|pattern| pattern.len() <= PATTERN_BYTES)
    }
}

impl Founded {
    pub(super) fn is_acceptable(&self) -> bool {
        self.epoch >= 1
            && self.trust_domain.len() <= TRUST_DOMAIN_BYTES
            && self.fingerprints.len() <= ROLES
            && self
                .fingerprints
                .iter()
                .all(|(role, _)| role.len() <= ROLE_BYTES)
            && self
                .fingerprints
                .is_sorted_by(|(left, _), (right, _)| left < right)
    }
}

impl Settings {
    /// With one of these at 0 no token could be used or no answer be had twice.
    pub(super) const fn is_acceptable(&self) -> bool {
        self.max_token_ttl_ms > 0
            && self.in_flight_timeout_ms > 0
            && self.redelivery_window_ms > 0
            && self.longest_certificate_lifetime_ms > 0
    }
}
