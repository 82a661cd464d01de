//! One of everything that can be in a log, for tests and the golden file. What is here was written
//! into that file: it is added to, never changed.

use crate::lifecycle::command::{
    Abort, Acknowledge, AdoptKey, Begin, Bindings, Consume, Failure, Forget, Founded,
    OfflineRegistration, Operation, RaiseRules, Register, Revert, Revoke, Settings, Sweep,
};
use crate::lifecycle::{Issuance, NamespaceLimits, Reason};
use crate::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};

/// Every operation, with every field in every form.
pub(crate) fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    let issuance = Issuance {
        namespace: "edge".into(),
        name: "m1".into(),
    };
    let token_id = TokenId([1; 16]);
    let joiner = JoinerId([2; 32]);
    let key_id = KeyId([3; 8]);
    let fingerprint = Fingerprint([4; 32]);
    all.push(Operation::Register(Register {
        issuance: issuance.clone(),
        namespace_uid: "uid".into(),
        revision: 3,
        spec_hash: [5; 32],
        revoked: false,
        reissue_if_unused: true,
        token_id,
        key_id,
        node_name: "m1".into(),
        ttl_ms: 3_600_000,
        in_flight_timeout_ms: Some(60_000),
        max_claims: Some(7),
        bindings: Bindings {
            source_cidrs: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/64".parse().unwrap()],
            joiner: Some(joiner),
        },
    }));
    for registration in [
        None,
        Some(OfflineRegistration {
            key_id,
            issued_at_ms: None,
            expires_at_ms: u64::MAX,
            node_name: None,
        }),
    ] {
        all.push(Operation::Begin(Begin {
            token_id,
            joiner,
            holder: [6; 16],
            address: Some("2001:db8::1".parse().unwrap()),
            registration,
        }));
    }
    all.push(Operation::Consume(Consume {
        token_id,
        joiner,
        attempt: u32::MAX,
        leaf: vec![7; 300],
    }));
    all.push(Operation::Acknowledge(Acknowledge { token_id, joiner }));
    for number in 1..=3 {
        all.push(Operation::Revert(Revert {
            token_id,
            attempt: 1,
            holder: [8; 16],
            failure: Failure::from_number(number).unwrap(),
        }));
    }
    for number in 1..=6 {
        all.push(Operation::Abort(Abort {
            token_id,
            reason: Reason::from_number(number).unwrap(),
            keep_until_ms: Some(9),
        }));
        all.push(Operation::Revoke(Revoke {
            token_id,
            reason: Reason::from_number(number).unwrap(),
            keep_until_ms: None,
        }));
    }
    all.push(Operation::Sweep(Sweep { limit: 256 }));
    all.push(Operation::Forget(Forget { issuance }));
    all.push(Operation::Configure(Settings {
        max_token_ttl_ms: 1,
        max_clock_skew_ms: 2,
        in_flight_timeout_ms: 3,
        redelivery_window_ms: 4,
        retention_ms: 5,
        longest_certificate_lifetime_ms: 6,
        reissue_interval_ms: 7,
        supersede: true,
        remember_issuances_ms: Some(8),
        namespaces: None,
    }));
    for number in 1..=3 {
        all.push(Operation::AdoptKey(AdoptKey {
            key_id,
            purpose: Purpose::from_number(number).unwrap(),
            fingerprint,
            max_ttl_ms: Some(1),
            node_pattern: Some("edge-*".into()),
        }));
    }
    all.push(Operation::Founded(Founded {
        store_id: StoreId([9; 16]),
        epoch: 1,
        trust_domain: "example.org".into(),
        fingerprints: vec![("door-ca".into(), fingerprint)],
    }));
    all
}

/// Those that came with the second version of the rules.
pub(crate) fn operations_of_second_rules() -> Vec<Operation> {
    let registration = OfflineRegistration {
        key_id: KeyId([3; 8]),
        issued_at_ms: Some(1),
        expires_at_ms: u64::MAX,
        node_name: Some("edge-7".into()),
    };
    let begin = Begin {
        token_id: TokenId([1; 16]),
        joiner: JoinerId([2; 32]),
        holder: [6; 16],
        address: None,
        registration: Some(registration),
    };
    vec![RaiseRules { to: 2 }.into(), begin.into()]
}

/// Those that came with the third version of the rules.
pub(crate) fn operations_of_third_rules() -> Vec<Operation> {
    let namespaces = NamespaceLimits {
        live_tokens: 9,
        names: u32::MAX,
    };
    let configure = Settings {
        namespaces: Some(namespaces),
        ..Settings::default()
    };
    vec![RaiseRules { to: 3 }.into(), configure.into()]
}
