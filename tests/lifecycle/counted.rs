//! By how many joiners a token may be claimed: each of them counts once, however often its request fails.

use jointoken::lifecycle::State;
use jointoken::lifecycle::command::{Begin, RaiseRules, Register, Revert};
use jointoken::lifecycle::outcome::BeginOutcome;
use jointoken::token::JoinerId;
use proptest::prelude::*;

use crate::support::*;

fn joiner(number: u8) -> JoinerId {
    JoinerId([number; 32])
}

/// With a token that so many may claim.
fn store(max_claims: u32, rules: u32) -> Store {
    let mut store = Store::founded_by(rules);
    store.apply(Register {
        max_claims: Some(max_claims),
        ..register()
    });
    store
}

fn give_back(store: &mut Store) {
    let attempt = store.record(1).attempts;
    store.apply(Revert {
        attempt,
        ..revert(1)
    });
}

/// Claims it and gives it back. Whether it was granted.
fn try_as(store: &mut Store, number: u8) -> bool {
    match store.run(begin_as(1, joiner(number))) {
        BeginOutcome::Granted { .. } => {
            give_back(store);
            true
        }
        BeginOutcome::Aborted(_) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_claimed_it_may_do_so_again_as_often_as_it_must() {
    for max_claims in [1, 2, 64, 65, 1_000_000] {
        let mut store = store(max_claims, State::newest_rules());
        for attempt in 1..=200 {
            assert!(try_as(&mut store, 1), "{max_claims}: {attempt}");
            assert_eq!(store.record(1).attempts, attempt, "it still fences");
        }
    }
}

#[test]
fn a_claim_that_lapsed_does_not_count_again() {
    let mut store = store(1, State::newest_rules());
    for _ in 0..5 {
        assert!(store.record(1).is_live());
        store.apply(begin_as(1, A));
        store.wait(5 * MINUTE);
    }
    let consumed = store.apply(begin_as(1, A));
    assert_eq!(said(&consumed.outcome), "Granted 6 until 30m");
}

#[test]
fn others_count_once_each_and_one_too_many_ends_it() {
    let mut store = store(3, State::newest_rules());
    for number in [1, 2, 1, 3, 2, 3, 1] {
        assert!(try_as(&mut store, number));
    }
    // The image knows them, too.
    store.state = State::decode(&store.state.encode()).expect("its own image");
    assert!(try_as(&mut store, 2));
    assert!(!try_as(&mut store, 4));
    assert_eq!(
        store.after(token(1)),
        "Aborted (attempts) attempt 8 SigningFailed"
    );
    // It is over: nothing of who claimed it is kept.
    let other = self::store(3, State::newest_rules()).state.encode().len();
    assert!(store.state.encode().len() < other + 32);
}

/// Memory has its bounds: of more than are remembered each claim counts.
#[test]
fn of_very_many_the_first_are_remembered() {
    let mut store = store(66, State::newest_rules());
    for number in 0..64 {
        assert!(try_as(&mut store, number));
    }
    assert!(try_as(&mut store, 100));
    assert!(try_as(&mut store, 100));
    assert!(try_as(&mut store, 7));
    assert!(!try_as(&mut store, 100));
}

#[test]
fn claims_from_before_later_rules_count_for_nothing() {
    let mut store = store(2, 2);
    assert!(try_as(&mut store, 1));
    store.apply(begin_as(1, joiner(2)));
    store.apply(RaiseRules { to: 3 });
    // The claim of before goes on, and is renewed.
    store.apply(Begin {
        holder: SECOND_HOLDER,
        ..begin_as(1, joiner(2))
    });
    store.apply(Revert {
        attempt: 2,
        holder: SECOND_HOLDER,
        ..revert(1)
    });
    assert!(try_as(&mut store, 2));
    assert!(try_as(&mut store, 3));
    assert!(!try_as(&mut store, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a set: refused is a new one beyond so many, and nobody else.
    #[test]
    fn as_a_set_says(max_claims in 1u32..6, tries in proptest::collection::vec(0u8..8, 1..60)) {
        let mut store = store(max_claims, State::newest_rules());
        let mut seen = std::collections::BTreeSet::new();
        for number in tries {
            let allowed = seen.contains(&number) || seen.len() < max_claims as usize;
            prop_assert_eq!(try_as(&mut store, number), allowed);
            if !allowed {
                break;
            }
            seen.insert(number);
        }
    }
}
