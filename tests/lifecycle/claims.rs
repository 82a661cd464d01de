//! Who may claim a token, how often, and from where.

use std::net::IpAddr;

use jointoken::lifecycle::command::{Begin, Bindings, Register, Revert};
use jointoken::lifecycle::outcome::Cause;
use jointoken::lifecycle::{Reason, Transition};

use crate::support::*;

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

fn from(text: &str) -> Begin {
    Begin {
        address: address(text),
        ..begin_as(1, A)
    }
}

/// A token for two networks.
fn store_with_networks() -> Store {
    let mut store = Store::founded();
    store.apply(Register {
        bindings: Bindings {
            source_cidrs: ["192.0.2.0/24", "2001:db8::/32"]
                .map(|range| range.parse().expect("a range"))
                .to_vec(),
            joiner: None,
        },
        ..register()
    });
    store
}

#[test]
fn a_token_is_claimed_only_from_its_networks() {
    for (begin, allowed) in [
        (from("192.0.2.255"), true),
        (from("192.0.3.0"), false),
        (from("2001:db8::1"), true),
        (from("2001:db9::1"), false),
        // How a socket for both families shows an IPv4 caller.
        (from("::ffff:192.0.2.7"), true),
        (from("::ffff:198.51.100.7"), false),
        // A door that does not know where the request came from cannot vouch for it.
        (
            Begin {
                address: None,
                ..begin_as(1, A)
            },
            false,
        ),
    ] {
        let mut store = store_with_networks();
        let applied = store.apply(begin.clone());
        let outcome = said(&applied.outcome);
        if allowed {
            assert_eq!(outcome, "Granted 1 until 5m", "{begin:?}");
        } else {
            assert_eq!(outcome, "NotAllowed(SourceAddress)", "{begin:?}");
            assert_eq!(applied.transitions, []);
            assert_eq!(store.after(token(1)), "Issued");
        }
    }
}

#[test]
fn a_claim_is_renewed_only_from_its_networks() {
    let mut store = store_with_networks();
    store.apply(from("192.0.2.1"));
    let renewed = store.apply(from("198.51.100.1"));
    assert_eq!(said(&renewed.outcome), "NotAllowed(SourceAddress)");
    assert_eq!(
        store.after(token(1)),
        "InFlight attempt 1 by A holder 1 until 5m"
    );
}

/// The token has admitted the key: an answer that was lost is given again to whoever has that
/// key, also after its address has changed, or the token would be burnt by a lost packet.
#[test]
fn an_answer_is_given_again_wherever_the_admitted_key_is() {
    let mut store = store_with_networks();
    store.apply(from("192.0.2.1"));
    store.apply(consume_as(1, A));
    let again = store.apply(from("198.51.100.1"));
    assert_eq!(said(&again.outcome), "Redeliver leaf");
    // The status keeps saying where the admission came from.
    let admission = store.record(1).admission.expect("an admission");
    assert_eq!(admission.address, address("192.0.2.1"));
}

#[test]
fn a_token_is_claimed_only_with_its_key() {
    let mut store = Store::founded();
    store.apply(Register {
        bindings: Bindings {
            joiner: Some(B),
            ..Bindings::default()
        },
        max_claims: Some(1),
        ..register()
    });
    assert_eq!(
        said(&store.apply(begin_as(1, A)).outcome),
        "NotAllowed(PublicKey)"
    );
    assert_eq!(store.after(token(1)), "Issued");
    store.apply(begin_as(1, B));
    assert_eq!(
        said(&store.apply(begin_as(1, A)).outcome),
        "NotAllowed(PublicKey)"
    );
    store.apply(revert(1));
    // All that may have claimed it, but a stranger cannot end it.
    assert_eq!(
        said(&store.apply(begin_as(1, A)).outcome),
        "NotAllowed(PublicKey)"
    );
    assert_eq!(store.after(token(1)), "Issued attempt 1 SigningFailed");
    assert_eq!(
        said(&store.apply(begin_as(1, B)).outcome),
        "Granted 2 until 5m"
    );
}

#[test]
fn by_earlier_rules_each_claim_counts() {
    let mut store = Store::founded_by(2);
    store.apply(Register {
        max_claims: Some(2),
        ..register()
    });
    store.apply(begin_as(1, A));
    // To ask again while the claim holds costs nothing.
    store.apply(begin_as(1, A));
    store.apply(revert(1));
    store.apply(begin_as(1, A));
    assert_eq!(store.record(1).attempts, 2);
    store.wait(5 * MINUTE);
    let applied = store.apply(begin_as(1, A));
    assert_eq!(said(&applied.outcome), "Aborted(Attempts)");
    assert_eq!(
        store.after(token(1)),
        "Aborted (attempts) attempt 2 SigningFailed"
    );
    let causes: Vec<Cause> = applied
        .transitions
        .iter()
        .map(|step: &Transition| step.cause)
        .collect();
    assert_eq!(
        causes,
        [Cause::ClaimLapsed, Cause::Aborted(Reason::Attempts)]
    );
}

#[test]
fn an_honest_joiner_may_try_as_often_as_it_must() {
    let mut store = Store::founded();
    store.apply(register());
    for attempt in 1..=1000 {
        store.apply(begin_as(1, A));
        store.apply(Revert {
            attempt,
            ..revert(1)
        });
    }
    assert_eq!(store.after(token(1)), "Issued attempt 1000 SigningFailed");
}

/// A door crashes in the middle of a join; the joiner asks another door, with a new request.
#[test]
fn the_renewal_of_a_claim_takes_it_from_the_request_before() {
    let mut store = Store::founded();
    store.apply(register());
    store.apply(begin_as(1, A));
    store.wait(MINUTE);
    store.apply(Begin {
        holder: SECOND_HOLDER,
        ..begin_as(1, A)
    });
    // The first request wakes up and fails: it has nothing to give back any more.
    assert_eq!(said(&store.apply(revert(1)).outcome), "StaleClaim");
    assert_eq!(
        store.after(token(1)),
        "InFlight attempt 1 by A holder 2 until 6m"
    );
    assert_eq!(
        said(&store.apply(consume_as(1, A)).outcome),
        "Admitted leaf"
    );
}

#[test]
fn a_stolen_token_shows_once() {
    let mut store = Store::founded();
    store.admit(1, 1);
    let first = store.apply(begin_as(1, B));
    assert_eq!(first.transitions.len(), 1);
    assert_eq!(first.transitions[0].cause, Cause::Contested);
    let second = store.apply(begin_as(1, B));
    assert_eq!(second.transitions, []);
    // The machine that was admitted is not harmed by it.
    assert_eq!(said(&store.apply(begin_as(1, A)).outcome), "Redeliver leaf");
}

/// Whoever has an exported key chooses the ids of its tokens, and ids are public.
#[test]
fn an_exported_key_gets_nowhere_with_the_id_of_a_resource() {
    let mut store = Store::founded();
    store.admit(1, 1);
    let stolen = Begin {
        registration: Some(offline()),
        ..begin_as(1, B)
    };
    let applied = store.apply(stolen);
    assert_eq!(said(&applied.outcome), "Refused(IdInUse)");
    // Not even a false alarm.
    assert_eq!(store.after(token(1)), "Consumed attempt 1 by A leaf");
}

#[test]
fn an_aborted_id_is_dead_whoever_minted_it() {
    let mut store = Store::founded();
    store.apply(abort(1));
    for registration in [None, Some(offline())] {
        let begin = Begin {
            registration,
            ..begin_as(1, A)
        };
        assert_eq!(said(&store.apply(begin).outcome), "Aborted(Deleted)");
    }
}
