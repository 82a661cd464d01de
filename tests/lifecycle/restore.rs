//! Restoring: what a former store's state comes to in a new one.

use std::collections::BTreeMap;

use jointoken::lifecycle::command::{AdoptKey, Founded, Register};
use jointoken::lifecycle::outcome::{
    AdoptKeyOutcome, BeginOutcome, HouseChange, Refusal, RegisterOutcome,
};
use jointoken::lifecycle::{
    Issuance, Phase, Reason, Record, Restore, RestoreRefusal, Restored, State,
};
use jointoken::token::{Fingerprint, KeyId, Purpose, StoreId, TokenId};
use proptest::prelude::*;

use crate::properties::{commands, drawn, steps};
use crate::support::*;

const NEW_STORE: StoreId = StoreId([0x77; 16]);

fn restore_at(index: u64) -> Restore {
    Restore {
        index,
        founded: Founded {
            store_id: NEW_STORE,
            epoch: 2,
            ..founding()
        },
        clock_ms: None,
    }
}

fn restored(store: &Store) -> Store {
    let index = store.index + 1;
    let state = store.state.clone().restore(&restore_at(index)).unwrap();
    state.check_invariants().unwrap();
    Store {
        state,
        index,
        at_ms: store.at_ms,
    }
}

/// Token 1 is issued, 2 in flight, 3 used and not acknowledged, 4 expired, 5 aborted, 9 a tombstone.
fn one_of_each() -> Store {
    one_of_each_by(State::newest_rules())
}

fn one_of_each_by(rules: u32) -> Store {
    let mut store = Store::founded_by(rules);
    for number in 1..=5 {
        store.apply(Register {
            issuance: Issuance {
                name: format!("n{number}"),
                ..n1()
            },
            token_id: token(number),
            ttl_ms: if number == 4 { MINUTE } else { HOUR },
            ..register()
        });
    }
    store.apply(begin_as(2, A));
    store.apply(begin_as(3, A));
    store.apply(consume_as(3, A));
    store.apply(abort(5));
    store.apply(abort(9));
    store.wait(MINUTE).apply(sweep());
    store
}

#[test]
fn what_is_live_ends_and_what_has_ended_stays() {
    let store = restored(&one_of_each());
    for (number, line) in [
        (1, "Aborted (restored)"),
        (2, "Aborted (restored) attempt 1"),
        (3, "Consumed attempt 1 by A"),
        (4, "Expired"),
        (5, "Aborted (deleted)"),
    ] {
        assert_eq!(store.after(token(number)), line);
    }
    assert!(store.after(token(9)).starts_with("Aborted tombstone"));
    for (name, phase) in [("n1", Phase::Aborted), ("n3", Phase::Consumed)] {
        let issuance = Issuance {
            name: name.into(),
            ..n1()
        };
        let entry = store.state.issuance(&issuance).unwrap();
        assert_eq!(entry.phase, phase);
        assert_eq!(
            entry.changed_at_index, store.index,
            "the controller looks again"
        );
    }
    let expected = Restored {
        former_store_id: founding().store_id,
        former_epoch: 1,
        index: store.index,
        ended: 2,
    };
    assert_eq!(store.state.restored(), Some(&expected));
    let told = HouseChange::Restored {
        store_id: NEW_STORE,
        epoch: 2,
        from: expected,
    };
    assert_eq!(store.state.restoration(), Some((store.index, told)));
}

#[test]
fn a_token_past_its_expiry_is_expired_though_no_sweep_came_by() {
    let mut store = Store::founded();
    store.apply(register());
    store
        .wait(HOUR)
        .configure(|settings| settings.supersede = false);
    assert_eq!(restored(&store).after(token(1)), "Expired");
}

#[test]
fn nobody_is_admitted_by_what_was_live() {
    let mut store = restored(&one_of_each());
    for number in [1, 2] {
        let outcome = store.run(begin_as(number, A));
        assert_eq!(outcome, BeginOutcome::Aborted(Reason::Restored));
    }
    assert_eq!(store.run(begin_as(3, A)), BeginOutcome::AlreadyConsumed);
    // Nor is the same revision issued again.
    let key_id = adopt(&mut store, 0x51, Purpose::Resource);
    let again = store.run(Register {
        reissue_if_unused: true,
        token_id: token(20),
        key_id,
        ..register()
    });
    assert!(
        matches!(again, RegisterOutcome::Existing { .. }),
        "{again:?}"
    );
}

fn adopt(store: &mut Store, number: u8, purpose: Purpose) -> KeyId {
    let key_id = KeyId([number; 8]);
    let outcome = store.run(AdoptKey {
        key_id,
        purpose,
        fingerprint: Fingerprint([number; 32]),
        max_ttl_ms: None,
        node_pattern: None,
    });
    assert_eq!(outcome, AdoptKeyOutcome::Adopted);
    key_id
}

#[test]
fn the_former_keys_mint_nothing_and_are_never_adopted_again() {
    let before = one_of_each();
    let mut store = restored(&before);
    assert_eq!(store.state.keys(), []);
    assert_eq!(store.state.retired_keys().len(), before.state.keys().len());
    for key in before.state.keys() {
        assert_eq!(store.run(key.clone()), AdoptKeyOutcome::Retired);
        // Nor under another name, or for something else.
        let renamed = AdoptKey {
            key_id: KeyId([0x66; 8]),
            purpose: Purpose::NodeDb,
            ..key.clone()
        };
        assert_eq!(store.run(renamed), AdoptKeyOutcome::Retired);
        let reused = AdoptKey {
            fingerprint: Fingerprint([0x66; 32]),
            ..key
        };
        assert_eq!(store.run(reused), AdoptKeyOutcome::Conflict);
    }
    let refused = store.run(Register {
        revision: 2,
        token_id: token(20),
        ..register()
    });
    let expected = Refusal::UnknownKey(RESOURCE_KEY);
    assert_eq!(refused, RegisterOutcome::Refused(expected));
    for key_id in [OFFLINE_KEY, NODEDB_KEY] {
        let mut begin = begin_as(30, A);
        begin.registration = Some(offline());
        begin.registration.as_mut().unwrap().key_id = key_id;
        let expected = BeginOutcome::Refused(Refusal::UnknownKey(key_id));
        assert_eq!(store.run(begin), expected);
    }

    // A new key does what it is for; the next restore retires it, too.
    let key_id = adopt(&mut store, 0x51, Purpose::Resource);
    let issued = store.run(Register {
        revision: 2,
        token_id: token(20),
        key_id,
        ..register()
    });
    assert!(matches!(issued, RegisterOutcome::Created(_)), "{issued:?}");
    let third = Restore {
        index: store.index + 1,
        founded: Founded {
            store_id: StoreId([0x78; 16]),
            epoch: 3,
            ..founding()
        },
        clock_ms: None,
    };
    let state = store.state.clone().restore(&third).unwrap();
    state.check_invariants().unwrap();
    assert_eq!(state.retired_keys().len(), before.state.keys().len() + 1);
    assert_eq!(state.restored().unwrap().former_store_id, NEW_STORE);
    assert_eq!(state.record(&token(20)).unwrap().phase, Phase::Aborted);
}

/// Somebody's clock was ten years ahead when it came to lead: nothing is issued until it is set back.
#[test]
fn a_clock_that_is_set_back_issues_again() {
    let mut store = one_of_each();
    let right_ms = store.at_ms;
    store.wait(3650 * DAY).apply(sweep());
    store.apply(abort(1));
    let restore = Restore {
        clock_ms: Some(right_ms),
        ..restore_at(store.index + 1)
    };
    let state = store.state.clone().restore(&restore).unwrap();
    state.check_invariants().unwrap();
    assert_eq!(state.now_ms(), right_ms);
    for record in state.records() {
        assert!(record.terminal_at_ms <= Some(right_ms), "{record:?}");
        assert!(record.issued_at_ms <= right_ms);
    }
    let mut store = Store {
        state,
        index: restore.index,
        at_ms: right_ms,
    };
    let key_id = adopt(&mut store, 0x51, Purpose::Resource);
    let issued = store.run(Register {
        revision: 2,
        token_id: token(20),
        key_id,
        ..register()
    });
    let RegisterOutcome::Created(record) = issued else {
        panic!("{issued:?}");
    };
    assert_eq!(record.issued_at_ms, right_ms);
    assert_eq!(record.expires_at_ms, right_ms + HOUR);
    // A clock is never set forward by this.
    let forward = Restore {
        index: store.index + 1,
        founded: Founded {
            store_id: StoreId([0x78; 16]),
            epoch: 3,
            ..founding()
        },
        clock_ms: Some(u64::MAX),
    };
    let state = store.state.clone().restore(&forward).unwrap();
    assert_eq!(state.now_ms(), right_ms);
}

#[test]
fn a_store_is_restored_as_another_one_or_not_at_all() {
    let store = one_of_each();
    let try_it = |change: &dyn Fn(&mut Restore)| {
        let mut restore = restore_at(store.index + 1);
        change(&mut restore);
        store.state.clone().restore(&restore).unwrap_err()
    };
    let former = founding();
    for (refusal, expected) in [
        (
            try_it(&|restore| restore.founded.store_id = founding().store_id),
            RestoreRefusal::SameStore(former.store_id),
        ),
        (
            try_it(&|restore| restore.founded.epoch = 1),
            RestoreRefusal::Epoch(1),
        ),
        (
            try_it(&|restore| restore.founded.trust_domain = "example.net".into()),
            RestoreRefusal::TrustDomain(former.trust_domain),
        ),
        (
            try_it(&|restore| restore.index = 1),
            RestoreRefusal::Index(store.state.last_change()),
        ),
        (
            try_it(&|restore| {
                let twice = restore.founded.fingerprints[0].clone();
                restore.founded.fingerprints.push(twice);
            }),
            RestoreRefusal::Unacceptable,
        ),
        (
            State::new().restore(&restore_at(1)).unwrap_err(),
            RestoreRefusal::NotFounded,
        ),
    ] {
        assert_eq!(refusal, expected);
    }
}

#[test]
fn a_state_that_was_never_restored_has_the_first_form_and_one_that_was_the_second() {
    let store = one_of_each();
    let version = |state: &State| state.encode()[8];
    assert_eq!(version(&store.state), 1);
    let state = restored(&store).state;
    assert_eq!(version(&state), 2);
    let image = state.encode();
    assert_eq!(State::decode(&image).unwrap().encode(), image);
    for len in 0..image.len() {
        assert!(State::decode(&image[..len]).is_err(), "{len}");
    }
    for at in 0..image.len() {
        let mut flipped = image.clone();
        flipped[at] ^= 1;
        assert!(State::decode(&flipped).is_err(), "{at}");
    }
}

/// An image of the second form, written once and never again: later releases must read it.
#[test]
fn the_first_image_of_a_restored_state_is_read_for_ever() {
    let golden = include_bytes!("golden/state-2.image");
    let state = State::decode(golden).expect("an image of the second format");
    assert_eq!(state.encode(), golden);
    assert_eq!(restored(&one_of_each_by(1)).state.encode(), golden);
}

fn by_id(state: &State) -> BTreeMap<TokenId, Record> {
    state.records().map(|r| (r.token_id, r)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_commanded_before(
        drawn in proptest::collection::vec((steps(), drawn()), 1..100),
        after in proptest::collection::vec((steps(), drawn()), 1..60),
        back_to_ms in START - DAY..START + 30 * DAY,
    ) {
        let mut store = Store::founded_by(1);
        for command in commands(&drawn, store.at_ms) {
            store.at_ms = command.at_ms;
            store.apply(command.operation);
        }
        let before = by_id(&store.state);
        let restore = restore_at(store.index + 1);
        let state = store.state.clone().restore(&restore).unwrap();
        state.check_invariants().map_err(|violation| TestCaseError::fail(violation.to_string()))?;

        let ended = state.restored().unwrap().ended;
        let aborted = |record: &&Record| record.aborted == Some(Reason::Restored);
        let records = by_id(&state);
        prop_assert_eq!(records.values().filter(aborted).count() as u64, ended);
        prop_assert!(records.keys().eq(before.keys()));
        prop_assert_eq!(state.issuances().count(), store.state.issuances().count());
        for (id, record) in &records {
            let was = &before[id];
            prop_assert!(!record.is_live());
            prop_assert!(record.attempts >= was.attempts);
            prop_assert_eq!(source(record), source(was));
            if !was.is_live() {
                // All that may change is that nothing is delivered again.
                let mut expected = was.clone();
                if expected.expires_at_ms == u64::MAX {
                    expected.expires_at_ms = record.expires_at_ms;
                }
                if let Some(admission) = &mut expected.admission
                    && admission.leaf.take().is_some()
                {
                    expected.changed_at_index = restore.index;
                }
                prop_assert_eq!(record, &expected);
            }
        }
        // With its clock set back to whenever.
        let set_back = Restore { clock_ms: Some(back_to_ms), ..restore.clone() };
        let back = store.state.clone().restore(&set_back).unwrap();
        back.check_invariants().map_err(|violation| TestCaseError::fail(violation.to_string()))?;
        prop_assert_eq!(back.now_ms(), store.state.now_ms().min(back_to_ms));
        let image = back.encode();
        let decoded = State::decode(&image).expect("its own image");
        prop_assert_eq!(decoded.next_due_ms(), back.next_due_ms());

        let image = state.encode();
        let decoded = State::decode(&image).expect("its own image");
        prop_assert_eq!(decoded.encode(), image);
        prop_assert_eq!(decoded.hash(), state.hash());
        prop_assert_eq!(decoded.next_due_ms(), state.next_due_ms());

        // Whoever has an old token gets nowhere with it, whatever comes.
        let mut store = Store { state, index: restore.index, at_ms: store.at_ms };
        for command in commands(&after, store.at_ms) {
            store.at_ms = command.at_ms;
            store.apply(command.operation);
        }
        for record in store.state.records() {
            prop_assert!(!record.is_live(), "{:?}", record);
            if let Some(was) = before.get(&record.token_id) {
                let (is_used, was_used) = (record.phase == Phase::Consumed, was.phase == Phase::Consumed);
                prop_assert!(was_used || !is_used);
                // One that was forgotten when its time had come may have been marked as ended since.
                prop_assert!(is_used || !was_used || record.attempts == 0, "{:?}", record);
            }
        }
    }
}
