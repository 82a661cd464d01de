//! The rules that the API server enforces in CEL, each with a message that says what to do.
//!
//! They stand in one table, not at the fields: half of them compare fields with each other or with what
//! they were before, and a test asks of every entry that a real API server refuses a manifest by it.
//! Ranges of numbers, lengths and enums are plain schema, written at the fields; the API server's own
//! messages for those name the bound. Numbers have both bounds so that whatever the API server accepts
//! can be read: one object that cannot would stop the watch on all of them.

/// One entry of `x-kubernetes-validations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// A name for tests and for this table; not part of the schema.
    pub name: &'static str,
    /// The properties that lead from the resource's root to what `self` is; `items` enters a list.
    pub at: &'static [&'static str],
    /// The CEL expression that has to be true.
    pub rule: &'static str,
    /// What to do, if it is not.
    pub message: &'static str,
    /// A better message made of the values at hand; `message` is used if it cannot be evaluated.
    pub message_expression: Option<&'static str>,
    /// The field that the error names, from `at` on.
    pub field_path: Option<&'static str>,
    /// The class of the error.
    pub reason: Option<&'static str>,
}

const FORBIDDEN: Option<&str> = Some("FieldValueForbidden");

/// Every rule there is.
///
/// Messages are made with `format`: the API server's estimate of what an expression costs has no upper
/// bound for text that is put together with `+` from numbers, and it refuses the definition then.
pub const RULES: &[Rule] = &[
    Rule {
        name: "the resource's name can name the machine",
        at: &[],
        rule: "has(self.spec.nodeName) || (size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",
        message: "metadata.name cannot name a machine (at most 63 of a-z, 0-9 and '-', no dots): set spec.nodeName to the machine's name",
        message_expression: None,
        field_path: Some(".spec.nodeName"),
        reason: Some("FieldValueRequired"),
    },
    Rule {
        name: "the default name of the Secret fits",
        at: &[],
        rule: "has(self.spec.secretName) || size(self.metadata.name) <= 242",
        message: "metadata.name followed by '-join-token' is longer than the 253 characters that a Secret's name may have: set spec.secretName",
        message_expression: None,
        field_path: Some(".spec.secretName"),
        reason: Some("FieldValueRequired"),
    },
    Rule {
        name: "nodeName is fixed within a revision",
        at: &[],
        rule: "self.spec.revision != oldSelf.spec.revision || (has(self.spec.nodeName) ? self.spec.nodeName : self.metadata.name) == (has(oldSelf.spec.nodeName) ? oldSelf.spec.nodeName : oldSelf.metadata.name)",
        message: "nodeName is fixed within a revision: set it back, or raise spec.revision to have a new token",
        message_expression: Some(
            "'nodeName is fixed within a revision: set it back to %s, or raise spec.revision to %d to have a new token'.format([has(oldSelf.spec.nodeName) ? oldSelf.spec.nodeName : oldSelf.metadata.name, oldSelf.spec.revision + 1])",
        ),
        field_path: Some(".spec.nodeName"),
        reason: FORBIDDEN,
    },
    Rule {
        name: "ttlSeconds is fixed within a revision",
        at: &[],
        rule: "self.spec.revision != oldSelf.spec.revision || (has(self.spec.ttlSeconds) ? self.spec.ttlSeconds : 3600) == (has(oldSelf.spec.ttlSeconds) ? oldSelf.spec.ttlSeconds : 3600)",
        message: "ttlSeconds is fixed within a revision: set it back, or raise spec.revision to have a new token",
        message_expression: Some(
            "'ttlSeconds is fixed within a revision: set it back to %d, or raise spec.revision to %d to have a new token'.format([oldSelf.spec.ttlSeconds, oldSelf.spec.revision + 1])",
        ),
        field_path: Some(".spec.ttlSeconds"),
        reason: FORBIDDEN,
    },
    Rule {
        name: "admission is fixed within a revision",
        at: &[],
        rule: "self.spec.revision != oldSelf.spec.revision || (has(self.spec.admission) == has(oldSelf.spec.admission) && (!has(self.spec.admission) || self.spec.admission == oldSelf.spec.admission))",
        message: "admission is fixed within a revision: set it back, or raise spec.revision to have a new token",
        message_expression: Some(
            "'admission is fixed within a revision: set it back, or raise spec.revision to %d to have a new token'.format([oldSelf.spec.revision + 1])",
        ),
        field_path: Some(".spec.admission"),
        reason: FORBIDDEN,
    },
    Rule {
        name: "secretName is fixed within a revision",
        at: &[],
        rule: "self.spec.revision != oldSelf.spec.revision || (has(self.spec.secretName) ? self.spec.secretName : self.metadata.name + '-join-token') == (has(oldSelf.spec.secretName) ? oldSelf.spec.secretName : oldSelf.metadata.name + '-join-token')",
        message: "secretName is fixed within a revision: set it back, or raise spec.revision to have a new token",
        message_expression: Some(
            "'secretName is fixed within a revision: set it back to %s, or raise spec.revision to %d to have a new token'.format([has(oldSelf.spec.secretName) ? oldSelf.spec.secretName : oldSelf.metadata.name + '-join-token', oldSelf.spec.revision + 1])",
        ),
        field_path: Some(".spec.secretName"),
        reason: FORBIDDEN,
    },
    Rule {
        name: "a revocation stands within a revision",
        at: &[],
        rule: "self.spec.revision != oldSelf.spec.revision || !(has(oldSelf.spec.revoked) && oldSelf.spec.revoked) || (has(self.spec.revoked) && self.spec.revoked)",
        message: "a revocation cannot be taken back: set revoked to true again, or raise spec.revision to have a new token",
        message_expression: Some(
            "'a revocation cannot be taken back: set revoked to true again, or raise spec.revision to %d to have a new token'.format([oldSelf.spec.revision + 1])",
        ),
        field_path: Some(".spec.revoked"),
        reason: FORBIDDEN,
    },
    Rule {
        name: "className is fixed",
        at: &[],
        rule: "has(self.spec.className) == has(oldSelf.spec.className) && (!has(self.spec.className) || self.spec.className == oldSelf.spec.className)",
        message: "className is fixed for the life of a resource, since the token is registered in the store of one class: delete this resource and create it again with the other class",
        message_expression: None,
        field_path: Some(".spec.className"),
        reason: FORBIDDEN,
    },
    Rule {
        name: "className is a label",
        at: &["spec", "className"],
        rule: "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        message: "use only a-z, 0-9 and '-', beginning and ending with a letter or a digit (an RFC 1123 label, no dots)",
        message_expression: None,
        field_path: None,
        reason: None,
    },
    Rule {
        name: "nodeName is a label",
        at: &["spec", "nodeName"],
        rule: "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        message: "use only a-z, 0-9 and '-', beginning and ending with a letter or a digit (an RFC 1123 label, no dots)",
        message_expression: None,
        field_path: None,
        reason: None,
    },
    Rule {
        name: "secretName can name a Secret",
        at: &["spec", "secretName"],
        rule: "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        message: "use only a-z, 0-9, '-' and '.', each part between dots beginning and ending with a letter or a digit (an RFC 1123 subdomain)",
        message_expression: None,
        field_path: None,
        reason: None,
    },
    Rule {
        name: "secretName says what it is",
        at: &["spec", "secretName"],
        rule: "self.endsWith('-join-token')",
        message: "let the name end in -join-token: so it can never be one that something else looks up",
        message_expression: None,
        field_path: None,
        reason: None,
    },
    Rule {
        name: "publicKeySha256 is a SHA-256",
        at: &["spec", "admission", "publicKeySha256"],
        rule: "self.matches('^[0-9a-f]{64}$')",
        message: "give 64 lowercase hexadecimal digits and nothing else, as `openssl pkey -in key.pem -pubout -outform DER | sha256sum` prints them",
        message_expression: None,
        field_path: None,
        reason: None,
    },
    Rule {
        name: "a source is a CIDR",
        at: &["spec", "admission", "sourceCIDRs", "items"],
        rule: "isCIDR(self)",
        message: "give a network such as 192.0.2.0/24 or 2001:db8::/32; for one address 192.0.2.7/32 or 2001:db8::7/128",
        message_expression: None,
        field_path: None,
        reason: None,
    },
    // 10.1.2.3/8 may mean the machine or its network; the second would let in more than was meant.
    Rule {
        name: "a source is a network",
        at: &["spec", "admission", "sourceCIDRs", "items"],
        rule: "!isCIDR(self) || cidr(self).masked() == cidr(self)",
        message: "the address has bits beyond its prefix: write the network's own address, or /32 (IPv6: /128) for one machine",
        message_expression: Some(
            "'the address has bits beyond its prefix: write %s for the network, or %s/%d for one machine'.format([string(cidr(self).masked()), string(cidr(self).ip()), cidr(self).ip().family() == 4 ? 32 : 128])",
        ),
        field_path: None,
        reason: None,
    },
    Rule {
        name: "a status goes on saying whose it is",
        at: &["status"],
        rule: "!has(oldSelf.storeId) || has(self.storeId)",
        message: "storeId says which store the status is of and is not removed",
        message_expression: None,
        field_path: None,
        reason: FORBIDDEN,
    },
    Rule {
        name: "the store's epoch and index never fall",
        at: &["status"],
        rule: "!has(oldSelf.storeEpoch) || (has(self.storeId) && has(oldSelf.storeId) && self.storeId != oldSelf.storeId) || (has(self.storeEpoch) && (self.storeEpoch > oldSelf.storeEpoch || (self.storeEpoch == oldSelf.storeEpoch && (!has(oldSelf.storeIndex) || (has(self.storeIndex) && self.storeIndex >= oldSelf.storeIndex)))))",
        message: "this status is older than the one recorded: (storeEpoch, storeIndex) of a store never falls; read the store again before you write",
        message_expression: None,
        field_path: None,
        reason: FORBIDDEN,
    },
];
