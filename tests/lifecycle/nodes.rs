//! For which node a token minted offline is: kept by the second rules, while somebody holds it.

use jointoken::lifecycle::State;
use jointoken::lifecycle::command::{Begin, OfflineRegistration, RaiseRules, Register};
use jointoken::lifecycle::outcome::{BeginOutcome, RaiseRulesOutcome, Refusal};
use jointoken::lifecycle::record::Origin;

use crate::support;
use crate::support::{
    A, B, DAY, HOUR, MINUTE, OFFLINE_KEY, RESOURCE_KEY, START, Store, abort, acknowledge_as,
    begin_as, consume_as, offline, register, revert, revoke, sweep, token,
};

fn begin(number: u8) -> Begin {
    Begin {
        registration: Some(offline()),
        ..begin_as(number, A)
    }
}

fn named(number: u8, node_name: Option<&str>) -> Begin {
    let registration = OfflineRegistration {
        node_name: node_name.map(str::to_owned),
        ..offline()
    };
    Begin {
        registration: Some(registration),
        ..begin_as(number, A)
    }
}

fn node(store: &Store, number: u8) -> Option<String> {
    support::node(&store.record(number)).map(str::to_owned)
}

fn again(store: &Store) -> Store {
    Store {
        state: State::decode(&store.state.encode()).expect("its own image"),
        ..*store
    }
}

#[test]
fn it_is_known_from_the_claim_on_and_stays_with_who_was_admitted() {
    let mut store = Store::founded();
    let BeginOutcome::Granted { record, .. } = store.run(begin(1)) else {
        panic!("not granted");
    };
    let origin = Origin::Offline {
        key_id: OFFLINE_KEY,
        node_name: Some("edge-1".into()),
    };
    assert_eq!(record.origin, origin);
    store.apply(consume_as(1, A));
    store.apply(acknowledge_as(1, A));
    store.apply(begin_as(1, B));
    store.apply(revoke(1));
    let line = "Consumed of edge-1 attempt 1 by A barred (revoked) contested";
    assert_eq!(store.after(token(1)), line);
    assert_eq!(again(&store).after(token(1)), line);
    store.wait(2 * DAY).apply(sweep());
    assert_eq!(store.after(token(1)), line);
}

/// An offline token that nobody holds takes no room beside its slot.
#[test]
fn it_goes_with_the_claim_and_comes_with_the_next() {
    let mut store = Store::founded();
    store.apply(begin(1));
    store.apply(revert(1));
    assert_eq!(store.after(token(1)), "Issued attempt 1");
    store.apply(begin(1));
    assert_eq!(node(&store, 1).as_deref(), Some("edge-1"));
    store.wait(6 * MINUTE).apply(sweep());
    assert_eq!(store.after(token(1)), "Issued attempt 2");
    store.apply(begin(1));
    store.apply(abort(1));
    assert_eq!(store.after(token(1)), "Aborted (deleted) attempt 3");
    store.apply(begin(2));
    store.wait(2 * HOUR).apply(sweep());
    assert_eq!(store.after(token(2)), "Expired attempt 1");
}

/// A release that knows the first rules alone would read such a command as any other: nobody may go by more of it.
#[test]
fn the_first_rules_know_nothing_of_it() {
    let mut with = Store::founded_by(1);
    let mut without = Store::founded_by(1);
    let long = "n".repeat(64);
    for (number, said) in [(1, Some("edge-1")), (2, Some(&*long))] {
        let outcome = with.apply(named(number, said));
        assert_eq!(outcome, without.apply(named(number, None)));
    }
    with.apply(consume_as(1, A));
    without.apply(consume_as(1, A));
    assert_eq!(node(&with, 1), None);
    assert_eq!(with.state.encode(), without.state.encode());
}

#[test]
fn later_rules_bring_it_to_the_claims_after_them() {
    let mut store = Store::founded_by(1);
    for number in 1..=3 {
        store.apply(begin(number));
    }
    store.apply(consume_as(1, A));
    let before = store.state.hash();
    let raised = store.run(RaiseRules { to: 2 });
    assert_eq!(raised, RaiseRulesOutcome::Raised);
    assert_ne!(store.state.hash(), before);
    // Of who was admitted before it is not known; a claim that is renewed says it.
    assert_eq!((node(&store, 1), node(&store, 2)), (None, None));
    store.apply(begin(2));
    store.apply(consume_as(3, A));
    store.apply(begin(1));
    let known = [1, 2, 3].map(|number| node(&store, number));
    assert_eq!(known, [None, Some("edge-1".into()), None]);
    // As proposed by who has not heard yet that the rules are in force.
    store.apply(named(2, None));
    store.apply(named(4, None));
    assert_eq!(node(&store, 2).as_deref(), Some("edge-1"));
    assert_eq!(node(&store, 4), None);
    assert_eq!(
        store.run(RaiseRules { to: 1 }),
        RaiseRulesOutcome::Known,
        "rules never go back"
    );
}

#[test]
fn it_is_no_longer_than_a_name_may_be() {
    let mut store = Store::founded();
    let (longest, longer) = ("n".repeat(63), "n".repeat(64));
    let refused = BeginOutcome::Refused(Refusal::FieldTooLong);
    assert_eq!(store.run(named(1, Some(&longer))), refused);
    assert_eq!(store.state.record(&token(1)), None);
    store.apply(named(1, Some(&longest)));
    assert_eq!(node(&store, 1), Some(longest));
    assert_eq!(store.run(named(1, Some(&longer))), refused);
}

/// What a resource's token is for, its registration has said.
#[test]
fn it_is_nothing_to_a_token_of_a_resource() {
    let mut store = Store::founded();
    store.apply(register());
    let registration = OfflineRegistration {
        key_id: RESOURCE_KEY,
        ..offline()
    };
    store.apply(Begin {
        registration: Some(registration),
        ..begin_as(1, A)
    });
    let Origin::Resource { node_name, .. } = store.record(1).origin else {
        panic!("no resource's");
    };
    assert_eq!(node_name, "n1");
}

#[test]
fn a_restored_store_knows_of_who_was_admitted() {
    let mut store = Store::founded();
    for number in 1..=2 {
        store.apply(begin(number));
    }
    store.apply(consume_as(1, A));
    let store = store.restored(Some(START - DAY));
    assert_eq!(store.after(token(1)), "Consumed of edge-1 attempt 1 by A");
    assert_eq!(store.after(token(2)), "Aborted (restored) attempt 1");
    assert_eq!(store.state.rules_version(), State::newest_rules());
}

/// A state with names and without, and a token of a resource.
fn rich() -> Store {
    let mut store = Store::founded_by(1);
    store.apply(begin(1));
    store.apply(consume_as(1, A));
    store.apply(RaiseRules { to: 2 });
    for number in 2..=4 {
        store.apply(begin(number));
    }
    store.apply(consume_as(3, A));
    store.apply(revert(4));
    store.apply(Register {
        token_id: token(5),
        ..register()
    });
    store.apply(begin_as(5, B));
    store.apply(abort(9));
    store
}

/// An image by the second rules, written once and never again: later releases must read it, and write the same bytes as long
/// as they write this format.
#[test]
fn the_image_of_the_second_rules_is_read_for_ever() {
    let golden = include_bytes!("golden/state-1-rules-2.image");
    assert!(rich().state.encode() == golden, "other bytes are written");
    let state = State::decode(golden).expect("an image by the second rules");
    assert_eq!(state.encode(), golden);
    let store = Store {
        state,
        index: 100,
        at_ms: START,
    };
    for (number, line) in [
        (1, "Consumed attempt 1 by A leaf"),
        (2, "InFlight of edge-1 attempt 1 by A holder 1 until 5m"),
        (3, "Consumed of edge-1 attempt 1 by A leaf"),
        (4, "Issued attempt 1"),
    ] {
        assert_eq!(store.after(token(number)), line);
    }
}
