//! What a tenant can do over and over makes nothing grow.

use jointoken::lifecycle::command::{Forget, RaiseRules, Register};
use jointoken::lifecycle::outcome::{ConfigureOutcome, NamespaceBound, Refusal, RegisterOutcome};
use jointoken::lifecycle::{NamespaceLimits, Settings, State};
use jointoken::token::TokenId;

use crate::support::*;

fn nth(number: u64) -> TokenId {
    TokenId((u128::from(number) + 1).to_be_bytes())
}

fn revise(store: &mut Store, revision: u64) {
    let outcome = store.run(Register {
        revision,
        token_id: nth(revision),
        ..register()
    });
    assert!(matches!(outcome, RegisterOutcome::Created(_)));
}

#[test]
fn however_often_a_revision_is_raised_few_records_stay() {
    let mut store = Store::founded();
    store.admit(200, 1);
    let mut sizes = Vec::new();
    for revision in 2..=10_000 {
        // All of its life is checked now and then only: that takes long.
        store.index += 1;
        let command = jointoken::lifecycle::Command {
            at_ms: store.at_ms,
            operation: Register {
                revision,
                token_id: nth(revision),
                ..register()
            }
            .into(),
        };
        store.state.apply(store.index, &command);
        if revision % 1_000 == 0 {
            sizes.push(store.state.encode().len());
        }
    }
    store.state.check_invariants().expect("a state that can be");
    // The one in force, the one before it, and the one by which a machine is in.
    assert_eq!(store.state.record_count(), 3);
    assert_eq!(sizes[0], sizes[9]);
    assert!(store.record(200).admission.is_some());
    let former = store.state.record(&nth(9_999)).expect("the former record");
    assert_eq!(
        former.aborted.map(|reason| reason.as_str()),
        Some("superseded")
    );
    // Where its record was dropped, a token is unknown.
    let begin = jointoken::lifecycle::command::Begin {
        token_id: nth(9_998),
        ..begin_as(1, A)
    };
    assert_eq!(said(&store.apply(begin).outcome), "NotFound");
}

#[test]
fn deleted_and_made_again_under_the_same_names_nothing_grows() {
    let mut store = Store::founded();
    let mut sizes = Vec::new();
    for round in 0..5u64 {
        for object in 0..200u64 {
            let token_id = nth(round * 1_000 + object);
            store.index += 1;
            let command = |operation| jointoken::lifecycle::Command {
                at_ms: START,
                operation,
            };
            let mut made = Register {
                revision: round + 1,
                token_id,
                ..register()
            };
            made.issuance.name = format!("n{object:03}");
            store.state.apply(store.index, &command(made.into()));
            let mut gone = abort(1);
            gone.token_id = token_id;
            store.state.apply(store.index, &command(gone.into()));
        }
        sizes.push(store.state.encode().len());
    }
    store.state.check_invariants().expect("a state that can be");
    assert_eq!(sizes[2], sizes[4]);
    assert_eq!(store.state.record_count(), 400);
}

/// What the chain of predecessors names may be forgotten, used, or taken by somebody else.
#[test]
fn only_what_was_unused_is_dropped() {
    let mut store = Store::founded();
    revise(&mut store, 1);
    store.admit(200, 2);
    revise(&mut store, 3);
    revise(&mut store, 4);
    revise(&mut store, 5);
    assert!(store.state.record(&nth(1)).is_none());
    assert!(store.record(200).admission.is_some());
    assert!(store.state.record(&nth(3)).is_none());
    assert!(store.state.record(&nth(4)).is_some());
    let again = State::decode(&store.state.encode()).expect("its own image");
    assert_eq!(again.encode(), store.state.encode());
}

#[test]
fn by_earlier_rules_every_record_stays_for_its_time() {
    let mut store = Store::founded_by(2);
    for revision in 1..=20 {
        revise(&mut store, revision);
    }
    assert_eq!(store.state.record_count(), 20);
}

/// Registers `namespace/n<number>` of the namespace with this uid.
fn made(store: &mut Store, number: u64, uid: &str) -> RegisterOutcome {
    let mut made = Register {
        token_id: nth(number),
        namespace_uid: uid.into(),
        ..register()
    };
    made.issuance.name = format!("n{number}");
    store.run(made)
}

fn gone(store: &mut Store, number: u64) {
    let mut gone = abort(1);
    gone.token_id = nth(number);
    store.apply(gone);
}

fn limited(live_tokens: u32, names: u32) -> Store {
    let mut store = Store::founded();
    store.configure(|settings| {
        settings.namespaces = Some(NamespaceLimits { live_tokens, names });
    });
    store
}

fn full(of: NamespaceBound, limit: u32) -> RegisterOutcome {
    RegisterOutcome::Refused(Refusal::NamespaceFull { of, limit })
}

fn is_made(outcome: &RegisterOutcome) -> bool {
    matches!(outcome, RegisterOutcome::Created(_))
}

#[test]
fn a_namespace_has_only_so_many_live_tokens() {
    let mut store = limited(2, 100);
    assert!(is_made(&made(&mut store, 1, "a")));
    assert!(is_made(&made(&mut store, 2, "a")));
    let refused = full(NamespaceBound::LiveTokens, 2);
    assert_eq!(made(&mut store, 3, "a"), refused);
    // Another one of the name is another namespace.
    assert!(is_made(&made(&mut store, 4, "b")));
    // What takes the place of a live one needs no more room, and what is revoked none.
    let mut next = Register {
        revision: 2,
        token_id: nth(5),
        namespace_uid: "a".into(),
        ..register()
    };
    next.issuance.name = "n1".into();
    assert!(is_made(&store.run(next.clone())));
    next.issuance.name = "n9".into();
    next.token_id = nth(6);
    next.revoked = true;
    assert!(is_made(&store.run(next)));
    assert_eq!(made(&mut store, 3, "a"), refused);
    // An image knows how many there are.
    store.state = State::decode(&store.state.encode()).expect("its own image");
    assert_eq!(made(&mut store, 3, "a"), refused);
    gone(&mut store, 2);
    assert!(is_made(&made(&mut store, 3, "a")));
    store.wait(HOUR).apply(sweep());
    assert!(is_made(&made(&mut store, 7, "a")));
}

#[test]
fn a_namespace_has_only_so_many_names() {
    let mut store = limited(100, 2);
    for number in [1, 2] {
        assert!(is_made(&made(&mut store, number, "a")));
        gone(&mut store, number);
    }
    let refused = full(NamespaceBound::Names, 2);
    assert_eq!(made(&mut store, 3, "a"), refused);
    assert!(is_made(&made(&mut store, 4, "b")));
    // A name that is known may be used again.
    let mut again = Register {
        revision: 2,
        token_id: nth(5),
        namespace_uid: "a".into(),
        ..register()
    };
    again.issuance.name = "n2".into();
    assert!(is_made(&store.run(again)));
    store.apply(Forget { issuance: n1() });
    assert!(is_made(&made(&mut store, 3, "a")));
    // An age makes room as well.
    store.configure(|settings| settings.remember_issuances_ms = Some(DAY));
    store.wait(9 * DAY).apply(sweep());
    store.wait(9 * DAY).apply(sweep());
    assert!(is_made(&made(&mut store, 6, "a")));
}

/// What was proposed by an earlier release is no other command by these rules, and the other way round.
#[test]
fn limits_of_namespaces_come_with_the_rules() {
    let mut store = Store::founded_by(2);
    assert_eq!(store.state.settings().namespaces, None);
    let tight = Settings {
        namespaces: Some(NamespaceLimits {
            live_tokens: 1,
            names: 1,
        }),
        ..Settings::default()
    };
    assert_eq!(store.run(tight.clone()), ConfigureOutcome::Unchanged);
    for number in 1..=3 {
        assert!(is_made(&made(&mut store, number, "a")));
    }
    store.apply(RaiseRules { to: 3 });
    let default = Some(NamespaceLimits::default());
    assert_eq!(store.state.settings().namespaces, default);
    assert_eq!(store.run(tight.clone()), ConfigureOutcome::Changed);
    // More than it may have is there already: it stays.
    assert_eq!(store.state.record_count(), 3);
    assert_eq!(made(&mut store, 4, "a"), full(NamespaceBound::Names, 1));
    assert_eq!(
        store.run(tight.clone().by_rules(2)),
        ConfigureOutcome::Unchanged
    );
    for limits in [(0, 1), (1, 0)] {
        let none = Settings {
            namespaces: Some(NamespaceLimits {
                live_tokens: limits.0,
                names: limits.1,
            }),
            ..tight.clone()
        };
        assert!(matches!(store.run(none), ConfigureOutcome::Refused(_)));
    }
}

/// By the third rules, with something of everything that came with them. Written once and never again.
#[test]
fn the_image_of_the_third_rules_is_read_for_ever() {
    let golden = include_bytes!("golden/state-1-rules-3.image");
    let mut store = limited(7, 9);
    revise(&mut store, 1);
    store.run(Register {
        revision: 2,
        token_id: token(2),
        max_claims: Some(3),
        ..register()
    });
    store.apply(begin_as(2, A));
    store.apply(revert(2));
    store.apply(begin_as(2, B));
    store.apply(abort(9));
    assert!(store.state.encode() == golden, "other bytes are written");
    let state = State::decode(golden).expect("an image by the third rules");
    assert_eq!(state.encode(), golden);
    let store = Store {
        state,
        index: 100,
        at_ms: START,
    };
    assert_eq!(
        store.after(token(9)),
        "Aborted tombstone for ever (deleted)"
    );
    assert_eq!(store.after(nth(1)), "Aborted (superseded)");
}
