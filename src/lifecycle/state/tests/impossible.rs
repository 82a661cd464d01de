//! States that cannot come about: the check must find each, and no image of one may be read.

use crate::lifecycle::command::{
    AdoptKey, Begin, Bindings, Consume, Founded, OfflineRegistration, Operation, RaiseRules,
    Register,
};
use crate::lifecycle::image::ImageError;
use crate::lifecycle::record::{Bar, Issuance, Phase, Reason};
use crate::lifecycle::state::RulesVersion;
use crate::lifecycle::state::slot::{Hold, NO_KEY, Resource, Side, Slot, Source};
use crate::lifecycle::{Command, State};
use crate::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};

const HOUR: u64 = 3_600_000;
const ISSUED: TokenId = TokenId([1; 16]);
const IN_FLIGHT: TokenId = TokenId([2; 16]);
const CONSUMED: TokenId = TokenId([3; 16]);
const OFFLINE: TokenId = TokenId([4; 16]);

fn name(token_id: TokenId) -> Issuance {
    Issuance {
        namespace: "default".into(),
        name: format!("n{}", token_id.0[0]),
    }
}

fn apply(state: &mut State, operation: impl Into<Operation>) {
    let command = Command {
        at_ms: HOUR,
        operation: operation.into(),
    };
    state.apply(1, &command);
}

/// A resource's token in each of three phases, and an offline one in flight.
fn state() -> State {
    let mut state = State::new();
    apply(&mut state, RaiseRules { to: 2 });
    apply(
        &mut state,
        Founded {
            store_id: StoreId([1; 16]),
            epoch: 1,
            trust_domain: "example.org".into(),
            fingerprints: vec![],
        },
    );
    for (number, purpose) in [(1, Purpose::Resource), (2, Purpose::Offline)] {
        apply(
            &mut state,
            AdoptKey {
                key_id: KeyId([number; 8]),
                purpose,
                fingerprint: Fingerprint([number; 32]),
                max_ttl_ms: None,
                node_pattern: None,
            },
        );
    }
    for token_id in [ISSUED, IN_FLIGHT, CONSUMED] {
        apply(
            &mut state,
            Register {
                issuance: name(token_id),
                namespace_uid: "uid".into(),
                revision: 1,
                spec_hash: [1; 32],
                revoked: false,
                reissue_if_unused: false,
                token_id,
                key_id: KeyId([1; 8]),
                node_name: "n".into(),
                ttl_ms: HOUR,
                in_flight_timeout_ms: None,
                max_claims: None,
                bindings: Bindings::default(),
            },
        );
    }
    let joiner = JoinerId([7; 32]);
    for token_id in [IN_FLIGHT, CONSUMED, OFFLINE] {
        let registration = OfflineRegistration {
            key_id: KeyId([2; 8]),
            issued_at_ms: Some(HOUR),
            expires_at_ms: 2 * HOUR,
            node_name: Some("edge-1".into()),
        };
        apply(
            &mut state,
            Begin {
                token_id,
                joiner,
                holder: [1; 16],
                address: None,
                registration: (token_id == OFFLINE).then_some(registration),
            },
        );
    }
    apply(
        &mut state,
        Consume {
            token_id: CONSUMED,
            joiner,
            attempt: 1,
            leaf: vec![1, 2, 3],
        },
    );
    assert_eq!(state.check_invariants(), Ok(()));
    state
}

/// Breaks a record, keeping hash and indices in step: only the rule named can find it.
fn broken(token_id: TokenId, rule: &str, change: impl FnOnce(&mut Slot, &mut Side)) {
    let mut state = state();
    let at = state.records.find(&token_id).expect("a record");
    state.records.edit(at, 1, change);
    found(&state, rule);
    let error = State::decode(&state.encode()).expect_err("an impossible state");
    assert!(
        matches!(error, ImageError::Impossible(_)),
        "{rule}: {error}"
    );
}

fn found(state: &State, rule: &str) {
    let violation = state.check_invariants().expect_err(rule);
    assert_eq!(violation.rule, rule);
}

#[test]
fn of_one_record() {
    broken(ISSUED, "a token expires after it is issued", |slot, _| {
        slot.expires_at_ms = slot.issued_at_ms;
    });
    broken(
        IN_FLIGHT,
        "a token in flight has a claim that ends with the token at the latest",
        |slot, _| slot.at_ms = slot.expires_at_ms + 1,
    );
    broken(
        IN_FLIGHT,
        "a token in flight has a claim that ends with the token at the latest",
        |slot, _| slot.attempts = 0,
    );
    broken(
        CONSUMED,
        "a consumed token has admitted the joiner of a claim",
        |slot, _| slot.attempts = 0,
    );
    broken(CONSUMED, "nothing ended in the future", |slot, _| {
        slot.at_ms = HOUR + 1;
    });
    broken(
        CONSUMED,
        "a barred machine gets no answer again",
        |_, side| {
            let bar = Bar {
                reason: Reason::Revoked,
                at_ms: HOUR,
            };
            side.admitted_mut().expect("an admission").barred = Some(bar);
        },
    );
}

#[test]
fn of_a_record_and_its_key() {
    let rule = "a token was minted by a known key of the right purpose";
    broken(ISSUED, rule, |slot, _| slot.key = 1);
    broken(OFFLINE, rule, |slot, _| slot.key = 0);
    broken(OFFLINE, rule, |slot, _| slot.key = 77);
}

#[test]
fn of_the_node_of_a_token_minted_offline() {
    let kept =
        "the node of a token minted offline is kept by later rules, and is no longer than a name";
    broken(OFFLINE, kept, |_, side| side.take_node(&"n".repeat(64)));
    broken(
        OFFLINE,
        "the node of a token minted offline is kept while somebody holds it",
        |slot, side| {
            slot.phase = Phase::Expired;
            slot.at_ms = HOUR;
            side.hold = Hold::Nobody;
        },
    );
    let mut state = state();
    state.rules = RulesVersion::V1;
    found(&state, kept);
    assert!(State::decode(&state.encode()).is_err());
}

#[test]
fn of_a_tombstone() {
    let mut state = state();
    let at = state.records.find(&OFFLINE).expect("a record");
    state.records.edit(at, 1, |slot, _| slot.key = NO_KEY);
    found(&state, "a tombstone is aborted and nothing else");
}

#[test]
fn of_a_record_and_its_issuance() {
    broken(
        ISSUED,
        "an issuance says what its record says",
        |slot, _| {
            slot.phase = Phase::Expired;
        },
    );
    broken(
        ISSUED,
        "a live token of a resource is the one in force",
        |_, side| {
            let Source::Resource { resource, .. } = &mut side.source else {
                panic!("no resource's");
            };
            resource.issuance = name(CONSUMED);
        },
    );
    let mut state = state();
    let at = state.issuances.find(&name(CONSUMED)).expect("an issuance");
    state
        .issuances
        .edit(at, |entry| entry.last_admission = None);
    found(&state, "the last admission is known");
    assert!(State::decode(&state.encode()).is_err());
}

#[test]
fn of_the_indices() {
    let record = |state: &State| state.records.find(&ISSUED).expect("a record");

    let mut lost = state();
    let at = record(&lost);
    lost.records.table.clear();
    found(&lost, "a record is found by its id");

    let mut misplaced = state();
    misplaced.records.slots[at].position += 1;
    found(&misplaced, "a record knows its place in the due heap");

    let mut unsummed = state();
    unsummed.records.slots[at].changed_at_index += 1;
    found(&unsummed, "the sum of hashes is that of all parts");

    let mut forgotten = state();
    let entry = forgotten
        .issuances
        .find(&name(ISSUED))
        .expect("an issuance");
    forgotten.issuances.remove(entry);
    found(&forgotten, "a live token of a resource is the one in force");
}

/// Due times that are out of order would be found late, or never.
#[test]
fn of_the_due_heap() {
    let mut state = state();
    let at = state.records.find(&IN_FLIGHT).expect("a record");
    // As a change would that forgot to reschedule: it is due first now, and does not lie first.
    let first = state.records.next_due().expect("something is due").1;
    let other = if first == at {
        state.records.find(&OFFLINE).expect("a record")
    } else {
        at
    };
    state.records.slots[other].at_ms = 1;
    found(&state, "what is due first is found first");
}

/// By the third rules: a token that one of two joiners has claimed.
fn counted() -> State {
    let mut state = state();
    apply(&mut state, RaiseRules { to: 3 });
    let former = state.issuance(&name(ISSUED)).expect("an issuance");
    let register = Register {
        issuance: former.issuance,
        namespace_uid: former.namespace_uid,
        revision: 2,
        spec_hash: [1; 32],
        revoked: false,
        reissue_if_unused: false,
        token_id: COUNTED,
        key_id: KeyId([1; 8]),
        node_name: "n".into(),
        ttl_ms: HOUR,
        in_flight_timeout_ms: None,
        max_claims: Some(2),
        bindings: Bindings::default(),
    };
    apply(&mut state, register);
    let begin = Begin {
        token_id: COUNTED,
        joiner: JoinerId([7; 32]),
        holder: [1; 16],
        address: None,
        registration: None,
    };
    apply(&mut state, begin);
    assert_eq!(state.check_invariants(), Ok(()));
    state
}

const COUNTED: TokenId = TokenId([5; 16]);

#[test]
fn of_what_a_token_has_behind_it() {
    let past = |rule: &str, change: fn(&mut Resource)| {
        let mut state = counted();
        let at = state.records.find(&COUNTED).expect("a record");
        state.records.edit(at, 1, |_, side| {
            let Source::Resource { resource, .. } = &mut side.source else {
                panic!("no resource's");
            };
            change(resource);
        });
        found(&state, rule);
        assert!(State::decode(&state.encode()).is_err(), "{rule}");
    };
    past("each joiner that is remembered counts", |resource| {
        let claims = resource.claims.as_mut().expect("claims");
        claims.joiners.clear();
    });
    past(
        "no more claims count than there were and than there may be",
        |resource| {
            let claims = resource.claims.as_mut().expect("claims");
            claims.counted = 2;
            claims.joiners.push(JoinerId([8; 32]));
        },
    );
    past(
        "a predecessor is another token, and known by later rules",
        |resource| resource.predecessor = Some(COUNTED),
    );
}

#[test]
fn of_the_bounds_of_namespaces() {
    let mut state = counted();
    state.settings.namespaces = None;
    found(
        &state,
        "a namespace has bounds by later rules, and always by them",
    );
    assert!(State::decode(&state.encode()).is_err());
}
