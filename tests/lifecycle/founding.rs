//! What concerns the store as a whole: its founding, its keys, its settings.

use jointoken::lifecycle::command::Forget;
use jointoken::lifecycle::command::{AdoptKey, Founded};
use jointoken::lifecycle::outcome::{AdoptKeyOutcome, ConfigureOutcome, FoundedOutcome};
use jointoken::lifecycle::{HouseChange, Settings, State};
use jointoken::token::{Fingerprint, KeyId, Purpose};

use crate::support::*;

fn empty() -> Store {
    Store {
        state: State::new(),
        index: 0,
        at_ms: START,
    }
}

#[test]
fn a_store_is_founded_once() {
    let mut store = empty();
    let roles = |roles: &[&str]| Founded {
        fingerprints: roles
            .iter()
            .map(|role| ((*role).into(), Fingerprint([1; 32])))
            .collect(),
        ..founding()
    };
    for refused in [
        Founded {
            epoch: 0,
            ..founding()
        },
        roles(&["b", "a"]),
        roles(&["a", "a"]),
        Founded {
            trust_domain: "x".repeat(254),
            ..founding()
        },
    ] {
        assert_eq!(store.run(refused), FoundedOutcome::Refused);
        assert_eq!(store.state.founded(), None);
    }
    assert_eq!(store.run(founding()), FoundedOutcome::Founded);
    assert_eq!(store.run(founding()), FoundedOutcome::Known);
    let otherwise = Founded {
        epoch: 2,
        ..founding()
    };
    assert_eq!(store.run(otherwise), FoundedOutcome::Conflict);
    assert_eq!(store.state.founded(), Some(&founding()));
}

#[test]
fn the_maximum_ttl_of_a_nodedb_secret_may_be_configured_anew() {
    let secret = AdoptKey {
        key_id: KeyId([9; 8]),
        purpose: Purpose::NodeDb,
        fingerprint: Fingerprint([9; 32]),
        max_ttl_ms: Some(HOUR),
        node_pattern: None,
    };
    let longer = AdoptKey {
        max_ttl_ms: Some(2 * HOUR),
        ..secret.clone()
    };
    let mut store = Store::founded();
    assert_eq!(store.run(secret.clone()), AdoptKeyOutcome::Adopted);
    assert_eq!(store.run(longer.clone()), AdoptKeyOutcome::Adopted);
    assert_eq!(store.run(longer.clone()), AdoptKeyOutcome::Known);
    assert!(store.state.keys().contains(&longer));
    assert!(!store.state.keys().contains(&secret));
    let renamed = AdoptKey {
        key_id: KeyId([10; 8]),
        ..longer
    };
    assert_eq!(store.run(renamed), AdoptKeyOutcome::Conflict);
}

#[test]
fn a_key_is_adopted_once() {
    let key = AdoptKey {
        key_id: KeyId([9; 8]),
        purpose: Purpose::Offline,
        fingerprint: Fingerprint([9; 32]),
        max_ttl_ms: Some(HOUR),
        node_pattern: Some("edge-*".into()),
    };
    let mut store = Store::founded();
    assert_eq!(store.run(key.clone()), AdoptKeyOutcome::Adopted);
    assert_eq!(store.run(key.clone()), AdoptKeyOutcome::Known);
    for other in [
        AdoptKey {
            purpose: Purpose::Resource,
            ..key.clone()
        },
        AdoptKey {
            fingerprint: Fingerprint([10; 32]),
            ..key.clone()
        },
        AdoptKey {
            max_ttl_ms: None,
            ..key.clone()
        },
        // The same key under another id: who was given it as an offline key could mint as the
        // other, if that were a resource key.
        AdoptKey {
            key_id: KeyId([10; 8]),
            purpose: Purpose::Resource,
            ..key.clone()
        },
    ] {
        assert_eq!(store.run(other), AdoptKeyOutcome::Conflict);
    }
    let long = AdoptKey {
        key_id: KeyId([11; 8]),
        fingerprint: Fingerprint([11; 32]),
        node_pattern: Some("x".repeat(254)),
        ..key.clone()
    };
    assert_eq!(store.run(long), AdoptKeyOutcome::Refused);
    let first = AdoptKey {
        key_id: KeyId([0; 8]),
        fingerprint: Fingerprint([0; 32]),
        ..key.clone()
    };
    assert_eq!(store.run(first.clone()), AdoptKeyOutcome::Adopted);
    let keys = store.state.keys();
    assert_eq!(keys.len(), 6);
    assert!(keys.is_sorted_by_key(|key| key.key_id));
    assert_eq!((keys.first(), keys.last()), (Some(&first), Some(&key)));
}

#[test]
fn settings_change_as_a_whole_or_not_at_all() {
    let mut store = empty();
    let settings = Settings {
        in_flight_timeout_ms: MINUTE,
        ..Settings::default().by_rules(1)
    };
    assert_eq!(store.run(Settings::default()), ConfigureOutcome::Unchanged);
    assert_eq!(store.run(settings.clone()), ConfigureOutcome::Changed);
    for senseless in [
        Settings {
            max_token_ttl_ms: 0,
            ..settings.clone()
        },
        Settings {
            in_flight_timeout_ms: 0,
            ..settings.clone()
        },
        Settings {
            redelivery_window_ms: 0,
            ..settings.clone()
        },
        Settings {
            longest_certificate_lifetime_ms: 0,
            ..settings.clone()
        },
        // A tombstone would have to stay as long as that.
        Settings {
            max_token_ttl_ms: 3660 * DAY + 1,
            ..settings.clone()
        },
        Settings {
            retention_ms: u64::MAX,
            ..settings.clone()
        },
        Settings {
            remember_issuances_ms: Some(u64::MAX),
            ..settings.clone()
        },
    ] {
        let in_force = Box::new(settings.clone());
        assert_eq!(store.run(senseless), ConfigureOutcome::Refused(in_force));
    }
    assert_eq!(*store.state.settings(), settings);
}

#[test]
fn new_settings_count_for_what_is_decided_from_then_on() {
    let mut store = Store::founded();
    store.apply(register());
    store.configure(|settings| {
        settings.in_flight_timeout_ms = 2 * MINUTE;
        settings.redelivery_window_ms = HOUR;
    });
    assert_eq!(
        said(&store.apply(begin_as(1, A)).outcome),
        "Granted 1 until 2m"
    );
    store.apply(consume_as(1, A));
    let admission = store.record(1).admission.expect("an admission");
    assert_eq!(admission.redeliver_until_ms, START + HOUR);
}

/// Once each: what is said again changes nothing.
#[test]
fn what_changes_the_store_as_a_whole_is_told() {
    let mut store = empty();
    let key = AdoptKey {
        key_id: KeyId([9; 8]),
        purpose: Purpose::Resource,
        fingerprint: Fingerprint([9; 32]),
        max_ttl_ms: None,
        node_pattern: None,
    };
    let settings = Settings {
        supersede: false,
        ..Settings::default()
    };
    for _ in 0..2 {
        let told = [
            store.apply(founding()).house,
            store.apply(key.clone()).house,
            store.apply(settings.clone()).house,
        ];
        let expected = [
            Some(HouseChange::Founded),
            Some(HouseChange::KeyAdopted {
                key_id: key.key_id,
                purpose: key.purpose,
            }),
            Some(HouseChange::Configured),
        ];
        match store.index {
            3 => assert_eq!(told, expected),
            _ => assert_eq!(told, [None, None, None]),
        }
    }
    let mut store = Store::founded();
    let forget = Forget { issuance: n1() };
    assert_eq!(store.apply(forget.clone()).house, None);
    store.apply(register());
    assert_eq!(store.apply(forget.clone()).house, None, "its token is live");
    let expired = store.wait(HOUR).apply(forget);
    assert_eq!(expired.transitions.len(), 1);
    assert_eq!(expired.house, Some(HouseChange::NameForgotten(n1())));
}
