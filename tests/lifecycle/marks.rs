//! What was aborted by its id alone stays so, whatever is configured afterwards.

use std::collections::BTreeSet;

use jointoken::lifecycle::Settings;
use jointoken::lifecycle::command::{Abort, AdoptKey, Begin, OfflineRegistration, RaiseRules};
use jointoken::lifecycle::outcome::{AbortOutcome, BeginOutcome};
use jointoken::token::{Fingerprint, KeyId, Purpose};
use proptest::prelude::*;

use crate::support::*;

const LONG_KEY: KeyId = KeyId([5; 8]);

fn limit(store: &mut Store, max_token_ttl_ms: u64) {
    store.configure(|settings| settings.max_token_ttl_ms = max_token_ttl_ms);
}

/// With a key whose tokens live for ninety days, and the limit lowered since.
fn store(rules: u32) -> Store {
    let mut store = Store::founded_by(rules);
    limit(&mut store, 90 * DAY);
    store.apply(AdoptKey {
        key_id: LONG_KEY,
        purpose: Purpose::Offline,
        fingerprint: Fingerprint([5; 32]),
        max_ttl_ms: Some(90 * DAY),
        node_pattern: None,
    });
    limit(&mut store, 7 * DAY);
    store
}

fn used(registration: OfflineRegistration) -> Begin {
    Begin {
        registration: Some(registration),
        ..begin_as(1, A)
    }
}

fn long() -> OfflineRegistration {
    OfflineRegistration {
        key_id: LONG_KEY,
        expires_at_ms: START + 90 * DAY,
        ..offline()
    }
}

#[test]
fn a_limit_that_is_raised_again_revives_nothing() {
    for (issued_at_ms, key_id) in [
        (Some(START), LONG_KEY),
        // It does not say when it was issued.
        (None, NODEDB_KEY),
        // It says that it is issued later.
        (Some(START + 30 * DAY), LONG_KEY),
    ] {
        let mut store = store(3);
        store.apply(abort(1));
        store.wait(8 * DAY).apply(sweep());
        limit(&mut store, 90 * DAY);
        store.wait(30 * DAY).apply(sweep());
        let token = OfflineRegistration {
            key_id,
            issued_at_ms,
            ..long()
        };
        let outcome = store.apply(used(token)).outcome;
        assert_eq!(said(&outcome), "Aborted(Deleted)", "{issued_at_ms:?}");
    }
}

/// As it was before: the log of an earlier release comes to the same.
#[test]
fn by_earlier_rules_a_mark_goes_with_the_limits_of_its_moment() {
    let mut store = store(2);
    store.apply(abort(1));
    store.wait(8 * DAY).apply(sweep());
    limit(&mut store, 90 * DAY);
    assert!(matches!(
        store.run(used(long())),
        BeginOutcome::Granted { .. }
    ));
}

#[test]
fn later_rules_keep_the_marks_that_are_there() {
    let mut store = store(2);
    store.apply(abort(1));
    store.admit(2, 1);
    store.wait(8 * DAY - 5 * MINUTE).apply(sweep());
    store.at_ms = START + 7 * DAY;
    store.apply(abort(3));
    store.admit(4, 2);
    store.apply(RaiseRules { to: 3 });
    assert_eq!(
        store.after(token(3)),
        "Aborted tombstone for ever (deleted)"
    );
    // One that bars a machine stays as long as its certificate may.
    assert!(store.after(token(2)).contains("tombstone until"));
}

/// A restore retires all keys: no former token can come back.
#[test]
fn a_restored_store_keeps_marks_no_longer_than_it_must() {
    let mut store = store(3);
    store.apply(abort(1));
    let mut store = store.restored(None);
    assert_eq!(
        store.after(token(1)),
        format!("Aborted tombstone until {}m (deleted)", 7 * 24 * 60)
    );
    store.wait(8 * DAY).apply(sweep());
    limit(&mut store, 90 * DAY);
    let outcome = store.apply(used(long())).outcome;
    assert!(said(&outcome).starts_with("Refused(UnknownKey"));
}

#[derive(Debug, Clone)]
enum Step {
    Configure(u64, u64),
    Abort(u8, bool),
    Begin(u8),
    Sweep,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let limit = prop_oneof![Just(HOUR), Just(7 * DAY), Just(90 * DAY), Just(400 * DAY)];
    let skew = prop_oneof![Just(0), Just(5 * MINUTE), Just(DAY)];
    let wait = prop_oneof![Just(HOUR), Just(8 * DAY), Just(60 * DAY)];
    prop_oneof![
        2 => (limit, skew).prop_map(|(limit, skew)| Step::Configure(limit, skew)),
        2 => (0u8..9, any::<bool>()).prop_map(|(token, known)| Step::Abort(token, known)),
        3 => (0u8..9).prop_map(Step::Begin),
        2 => Just(Step::Sweep),
        3 => wait.prop_map(Step::Wait),
    ]
}

/// Three of each key, one of them issued later.
fn registration(number: u8) -> OfflineRegistration {
    let key_id = [OFFLINE_KEY, LONG_KEY, NODEDB_KEY][usize::from(number / 3)];
    let issued_at_ms = START + [0, 0, 40 * DAY][usize::from(number % 3)];
    OfflineRegistration {
        key_id,
        issued_at_ms: (key_id != NODEDB_KEY).then_some(issued_at_ms),
        expires_at_ms: issued_at_ms + [HOUR, 80 * DAY, 300 * DAY][usize::from(number % 3)],
        node_name: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_admitted_by_what_was_aborted(steps in proptest::collection::vec(step(), 1..60)) {
        let mut store = store(3);
        store.configure(|settings| settings.retention_ms = 0);
        let mut dead = BTreeSet::new();
        for step in steps {
            match step {
                Step::Configure(max_token_ttl_ms, max_clock_skew_ms) => {
                    store.apply(Settings {
                        max_token_ttl_ms,
                        max_clock_skew_ms,
                        retention_ms: 0,
                        ..store.state.settings().clone()
                    });
                }
                Step::Abort(number, expiry_known) => {
                    let outcome = store.run(Abort {
                        keep_until_ms: expiry_known.then_some(registration(number).expires_at_ms),
                        ..abort(number)
                    });
                    if !matches!(outcome, AbortOutcome::AlreadyConsumed(_)) {
                        dead.insert(number);
                    }
                }
                Step::Begin(number) => {
                    let outcome = store.run(Begin {
                        registration: Some(registration(number)),
                        ..begin_as(number, A)
                    });
                    let granted = matches!(outcome, BeginOutcome::Granted { .. });
                    prop_assert!(!granted || !dead.contains(&number), "token {}", number);
                }
                Step::Sweep => drop(store.apply(sweep())),
                Step::Wait(ms) => drop(store.wait(ms)),
            }
        }
    }
}
