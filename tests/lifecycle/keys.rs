//! How many keys there may be: there is always room for the operator's own, and after a restore for new ones.

use jointoken::lifecycle::command::{AdoptKey, Begin, OfflineRegistration};
use jointoken::lifecycle::outcome::AdoptKeyOutcome;
use jointoken::lifecycle::{Command, Operation, Outcome, State};
use jointoken::token::{Fingerprint, KeyId, Purpose, TokenId};

use crate::support::*;

/// All that there may be, and how many of them are the operator's own.
const KEYS: usize = 4096;
const OWN: usize = 64;

fn key(number: u64, purpose: Purpose) -> AdoptKey {
    let mut fingerprint = [0xee; 32];
    fingerprint[..8].copy_from_slice(&number.to_be_bytes());
    AdoptKey {
        key_id: KeyId((number + 0x1000).to_be_bytes()),
        purpose,
        fingerprint: Fingerprint(fingerprint),
        max_ttl_ms: Some(DAY),
        node_pattern: None,
    }
}

/// Without the look at all of the state that takes so long.
fn apply(store: &mut Store, operation: impl Into<Operation>) -> Outcome {
    store.index += 1;
    let command = Command {
        at_ms: store.at_ms,
        operation: operation.into(),
    };
    store.state.apply(store.index, &command).outcome
}

fn adopt(store: &mut Store, key: AdoptKey) -> AdoptKeyOutcome {
    match apply(store, key) {
        Outcome::AdoptKey(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

/// Exports until there is no more room. How many there are.
fn fill(store: &mut Store) -> u64 {
    let full = (0..).find(
        |number| match adopt(store, key(*number, Purpose::Offline)) {
            AdoptKeyOutcome::Adopted => false,
            AdoptKeyOutcome::Full => true,
            other => panic!("{other:?}"),
        },
    );
    store.state.check_invariants().expect("a state that can be");
    full.expect("it is full")
}

/// What a store needs that was restored: a key for resources, and one that is exported.
fn can_begin(store: &mut Store) {
    for (number, purpose) in [(90_000, Purpose::Resource), (90_001, Purpose::Offline)] {
        assert_eq!(adopt(store, key(number, purpose)), AdoptKeyOutcome::Adopted);
    }
}

#[test]
fn exported_keys_leave_room_for_the_operators_own() {
    let mut store = Store::founded();
    fill(&mut store);
    assert_eq!(store.state.key_count(), KEYS - OWN);
    for number in 0..OWN as u64 {
        let purpose = match number % 2 {
            0 => Purpose::Resource,
            _ => Purpose::NodeDb,
        };
        let own = key(10_000 + number, purpose);
        assert_eq!(adopt(&mut store, own.clone()), AdoptKeyOutcome::Adopted);
        assert_eq!(store.state.key(&own.key_id), Some(&own));
    }
    let more = key(20_000, Purpose::Resource);
    assert_eq!(adopt(&mut store, more), AdoptKeyOutcome::Full);
    // What is known needs no room.
    let known = key(0, Purpose::Offline);
    assert_eq!(adopt(&mut store, known), AdoptKeyOutcome::Known);
    let image = store.state.encode();
    let state = State::decode(&image).expect("its own image");
    assert_eq!(state.encode(), image);
}

#[test]
fn a_store_full_of_exported_keys_can_be_restored_and_begin() {
    for rules in [1, 2, 3] {
        let mut store = Store::founded_by(rules);
        let exported = fill(&mut store);
        // One of them was used, by a token that has a record.
        let last = key(exported - 1, Purpose::Offline);
        let registration = OfflineRegistration {
            key_id: last.key_id,
            ..offline()
        };
        apply(
            &mut store,
            Begin {
                registration: Some(registration),
                ..begin_as(1, A)
            },
        );
        let mut new = store.restored(None);
        assert_eq!(new.state.rules_version(), rules);
        assert_eq!(new.state.key_count(), 0);
        // The operator's own of before, and that one.
        assert!(new.state.retired_keys().len() < OWN);
        let kept = store.state.record(&token(1)).expect("a record");
        let record = new.state.record(&token(1)).expect("a record");
        assert_eq!(source(&record), source(&kept), "its key is the same");
        for key in [
            last,
            AdoptKey {
                key_id: KeyId([0x55; 8]),
                ..key_of(&store, NODEDB_KEY)
            },
        ] {
            assert_eq!(adopt(&mut new, key), AdoptKeyOutcome::Retired);
        }
        can_begin(&mut new);
    }
}

/// Even where a record names each of them.
#[test]
fn a_store_whose_keys_were_all_used_can_be_restored_and_begin() {
    for rules in [2, 3] {
        let mut store = Store::founded_by(rules);
        let exported = fill(&mut store);
        for number in 0..exported {
            let begin = Begin {
                token_id: TokenId((u128::from(number) + 1).to_be_bytes()),
                registration: Some(OfflineRegistration {
                    key_id: key(number, Purpose::Offline).key_id,
                    ..offline()
                }),
                ..begin_as(1, A)
            };
            apply(&mut store, begin);
        }
        let mut new = store.restored(None);
        assert_eq!(new.state.rules_version(), 3);
        assert!(new.state.retired_keys().len() as u64 >= exported);
        can_begin(&mut new);
    }
}

/// By earlier rules all keys were alike, retired ones too.
#[test]
fn by_earlier_rules_any_key_takes_the_last_place() {
    let mut store = Store::founded_by(2);
    fill(&mut store);
    assert_eq!(store.state.key_count(), KEYS);
    let more = key(20_000, Purpose::Resource);
    assert_eq!(adopt(&mut store, more), AdoptKeyOutcome::Full);
}

fn key_of(store: &Store, key_id: KeyId) -> AdoptKey {
    store.state.key(&key_id).expect("a key").clone()
}
