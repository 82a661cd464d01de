//! How much of everything the state keeps. What is longer was never acceptable to Kubernetes or
//! DNS either; the bounds are here so that no command can make the state grow without limit.

use super::command::{AdoptKey, Founded, OfflineRegistration, Register, Settings};

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
/// Of a token that only so many may claim, so many joiners are remembered, that each counts once. Of more each claim counts.
pub(super) const COUNTED_JOINERS: usize = 64;
/// Signing keys that mint. (By the rules before the third: ever adopted.)
pub(super) const KEYS: usize = 4096;
/// Of these so many are the operator's own, for which there is always room: whoever exports keys leaves them free.
pub(super) const OWN_KEYS: usize = 64;

impl Register {
    pub(super) fn fits(&self) -> bool {
        self.issuance.namespace.len() <= NAMESPACE_BYTES
            && self.issuance.name.len() <= NAME_BYTES
            && self.namespace_uid.len() <= UID_BYTES
            && fits_node(&self.node_name)
            && self.bindings.source_cidrs.len() <= SOURCE_CIDRS
    }
}

impl OfflineRegistration {
    pub(super) fn fits(&self) -> bool {
        self.node_name.as_deref().is_none_or(fits_node)
    }
}

/// Whether a node may have this name, as far as its length goes.
pub(super) const fn fits_node(name: &str) -> bool {
    name.len() <= NODE_NAME_BYTES
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

/// The greatest that a window or an age may be: ten years of 366 days. What is longer is a typing
/// error, and its tombstones would outlive everybody.
const GREATEST_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// A setting that no store can go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SenselessSetting {
    #[error("{name} is {value_ms} ms: it must be from {least_ms} to {greatest} ms (ten years)", greatest = GREATEST_MS)]
    Time {
        name: &'static str,
        value_ms: u64,
        least_ms: u64,
    },
    #[error("{0} is 0: it must be at least 1")]
    Zero(&'static str),
}

impl Settings {
    /// Whether a state would take them.
    ///
    /// # Errors
    /// The first that it would not. With some at 0 no token could be used, or no answer be had twice.
    pub fn check(&self) -> Result<(), SenselessSetting> {
        let remember_ms = self.remember_issuances_ms.unwrap_or(0);
        for (name, value_ms, least_ms) in [
            ("maxTokenTtl", self.max_token_ttl_ms, 1),
            ("maxClockSkew", self.max_clock_skew_ms, 0),
            ("inFlightTimeout", self.in_flight_timeout_ms, 1),
            ("redeliveryWindow", self.redelivery_window_ms, 1),
            ("retention", self.retention_ms, 0),
            (
                "longestCertificateLifetime",
                self.longest_certificate_lifetime_ms,
                1,
            ),
            ("reissueInterval", self.reissue_interval_ms, 0),
            ("rememberIssuances", remember_ms, 0),
        ] {
            if !(least_ms..=GREATEST_MS).contains(&value_ms) {
                return Err(SenselessSetting::Time {
                    name,
                    value_ms,
                    least_ms,
                });
            }
        }
        let Some(limits) = self.namespaces else {
            return Ok(());
        };
        for (name, value) in [
            ("maxLiveTokensPerNamespace", limits.live_tokens),
            ("maxNamesPerNamespace", limits.names),
        ] {
            if value == 0 {
                return Err(SenselessSetting::Zero(name));
            }
        }
        Ok(())
    }

    pub(super) fn is_acceptable(&self) -> bool {
        self.check().is_ok()
    }
}
