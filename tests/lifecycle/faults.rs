//! Faults of an earlier design of such a store. Each test says what that one did; each would
//! fail on it.

use jointoken::lifecycle::command::{Begin, Register, Revert};
use jointoken::lifecycle::{Issuance, Phase, State};

use crate::support::*;

/// The earlier design let Revert give back whatever claim there was: a request that had timed
/// out long ago reverted the claim of the joiner that came after it, and a third one could claim
/// the token while the second was being admitted. Here a claim is given back by its own request
/// alone, named by its attempt and its holder.
#[test]
fn a_late_revert_does_not_touch_the_claim_of_another() {
    let mut store = Store::founded();
    store.apply(register());
    store.apply(begin_as(1, A));
    store.wait(6 * MINUTE);
    store.apply(Begin {
        holder: SECOND_HOLDER,
        ..begin_as(1, B)
    });
    for late in [
        revert(1),
        Revert {
            holder: SECOND_HOLDER,
            ..revert(1)
        },
        Revert {
            attempt: 2,
            ..revert(1)
        },
    ] {
        assert_eq!(said(&store.apply(late).outcome), "StaleClaim");
    }
    assert_eq!(
        store.after(token(1)),
        "InFlight attempt 2 by B holder 2 until 11m"
    );
}

/// The earlier design's Consume did not ask who had claimed the token: a joiner whose claim had
/// lapsed, and one that never had any, consumed the claim of another, and two machines held
/// credentials for one token. Here it must be the joiner and the attempt of the claim.
#[test]
fn nobody_consumes_the_claim_of_another() {
    let mut store = Store::founded();
    store.apply(register());
    store.apply(begin_as(1, A));
    assert_eq!(said(&store.apply(consume_as(1, B)).outcome), "StaleClaim");
    store.wait(5 * MINUTE);
    store.apply(begin_as(1, B));
    // A's certificate was signed while its claim held, and comes too late.
    assert_eq!(said(&store.apply(consume_as(1, A)).outcome), "StaleClaim");
    assert_eq!(
        store.after(token(1)),
        "InFlight attempt 2 by B holder 1 until 10m"
    );
}

/// The same with one joiner and two of its own requests: the certificate of an older attempt
/// must not be delivered beside that of the newer one.
#[test]
fn nobody_consumes_with_an_older_attempt_of_its_own() {
    let mut store = Store::founded();
    store.apply(register());
    store.apply(begin_as(1, A));
    store.wait(5 * MINUTE);
    store.apply(begin_as(1, A));
    assert_eq!(said(&store.apply(consume_as(1, A)).outcome), "StaleClaim");
}

/// The earlier design looked at the expiry at the door only, with the door's clock: what was
/// proposed just before and applied after it, or by a door whose clock was slow, admitted an
/// expired token. Here time is in the command and `apply` decides.
#[test]
fn an_expired_token_admits_nobody_whatever_the_door_thought() {
    let mut store = Store::founded();
    store.apply(register());
    store.apply(begin_as(1, A));
    store.wait(HOUR);
    assert_eq!(said(&store.apply(consume_as(1, A)).outcome), "Expired");
    assert_eq!(said(&store.apply(begin_as(1, A)).outcome), "Expired");
}

/// The earlier design took a request from the same address as the claim for the same joiner:
/// behind one load balancer everybody was let in, and an honest joiner whose address had changed
/// was refused until the claim lapsed. Here a joiner is its key.
#[test]
fn the_address_does_not_say_who_a_joiner_is() {
    let mut store = Store::founded();
    store.apply(register());
    let (one, other) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
    store.apply(Begin {
        address: Some(one),
        ..begin_as(1, A)
    });
    let stranger = Begin {
        address: Some(one),
        ..begin_as(1, B)
    };
    assert_eq!(
        said(&store.apply(stranger.clone()).outcome),
        "ClaimConflict until 5m"
    );
    let moved = Begin {
        address: Some(other),
        ..begin_as(1, A)
    };
    assert_eq!(
        said(&store.apply(moved.clone()).outcome),
        "Granted 1 until 5m"
    );
    store.apply(consume_as(1, A));
    assert_eq!(said(&store.apply(stranger).outcome), "AlreadyConsumed");
    assert_eq!(said(&store.apply(moved).outcome), "Redeliver leaf");
}

/// The earlier design's `register` returned nothing: a token that could not be registered was
/// handed out all the same and refused when it was used. Here every refusal is an outcome.
#[test]
fn a_registration_that_fails_says_so() {
    let mut store = Store::founded();
    let unregistered = Register {
        ttl_ms: 8 * DAY,
        ..register()
    };
    let limit_ms = 7 * DAY;
    assert_eq!(
        said(&store.apply(unregistered).outcome),
        format!("Refused TtlTooLong {{ limit_ms: {limit_ms} }}")
    );
    assert_eq!(store.state.issuance(&n1()), None);
}

/// The earlier design's Abort overwrote whatever was there: an admission vanished from the
/// record, nobody could tell any more who had joined, and the joiner lost its redelivery. Here a
/// terminal state is final.
#[test]
fn an_abort_does_not_undo_an_admission() {
    let mut store = Store::founded();
    store.admit(1, 1);
    assert_eq!(said(&store.apply(abort(1)).outcome), "AlreadyConsumed");
    assert_eq!(store.after(token(1)), "Consumed attempt 1 by A leaf");
    assert_eq!(said(&store.apply(begin_as(1, A)).outcome), "Redeliver leaf");
}

/// The earlier design could abort only what it had seen: an offline token that leaked before it
/// was used could not be stopped. Here its id gets a tombstone.
#[test]
fn a_token_never_seen_can_be_stopped() {
    let mut store = Store::founded();
    assert_eq!(said(&store.apply(abort(1)).outcome), "Tombstone");
    let used = Begin {
        registration: Some(offline()),
        ..begin_as(1, A)
    };
    assert_eq!(said(&store.apply(used).outcome), "Aborted(Deleted)");
}

/// And one that was stopped stays so for as long as it could be used: also a token that says it
/// was issued a little after the abort, by a clock that is ahead, and lives as long as it may.
#[test]
fn a_tombstone_outlives_every_token_that_it_stops() {
    let mut store = Store::founded();
    store.configure(|settings| settings.retention_ms = 0);
    store.apply(abort(1));
    let mut last = offline();
    last.issued_at_ms = Some(START + 5 * MINUTE);
    last.expires_at_ms = START + 5 * MINUTE + 7 * DAY;
    let used = Begin {
        registration: Some(last.clone()),
        ..begin_as(1, A)
    };
    store.at_ms = last.expires_at_ms - 1;
    store.apply(sweep());
    assert_eq!(said(&store.apply(used.clone()).outcome), "Aborted(Deleted)");
    store.wait(1).apply(sweep());
    assert_eq!(said(&store.apply(used).outcome), "Aborted(Deleted)");
}

/// The earlier design ran the timer of a claim in the process that had granted it: when that one
/// crashed, the token stayed in flight for ever. Here the deadline is part of the state.
#[test]
fn a_claim_lapses_though_everybody_crashed() {
    let mut store = Store::founded();
    store.apply(register());
    store.apply(begin_as(1, A));
    store.state = State::decode(&store.state.encode()).expect("an image");
    assert_eq!(store.state.next_due_ms(), Some(START + 5 * MINUTE));
    store.wait(5 * MINUTE);
    assert_eq!(
        said(&store.apply(begin_as(1, B)).outcome),
        "Granted 2 until 10m"
    );
}

/// The earlier design forgot nothing: its memory and its snapshots grew with every token ever
/// made. Here a record goes once it can do no harm, a name keeps one small entry.
#[test]
fn what_can_do_no_harm_is_forgotten() {
    let mut store = Store::founded();
    for revision in 1..=20 {
        store.admit(revision, revision.into());
        store.wait(MINUTE);
    }
    assert_eq!(store.state.record_count(), 20);
    store.wait(8 * DAY).apply(sweep());
    assert_eq!(store.state.record_count(), 0);
    assert_eq!(store.state.issuances().count(), 1);
}

/// The earlier design kept token states out of its snapshots: a replica that was restored from
/// one admitted used tokens again.
#[test]
fn a_snapshot_knows_what_was_used() {
    let mut store = Store::founded();
    store.admit(1, 1);
    store.state = State::decode(&store.state.encode()).expect("an image");
    assert_eq!(
        said(&store.apply(begin_as(1, B)).outcome),
        "AlreadyConsumed"
    );
    assert_eq!(said(&store.apply(begin_as(1, A)).outcome), "Redeliver leaf");
}

/// The earlier design named a token by node and second of expiry: two tokens made for one node
/// in one second were the same, and using one used up the other. Here the id is random and the
/// record's own.
#[test]
fn two_tokens_of_one_moment_are_two() {
    let mut store = Store::founded();
    for number in [1, 2] {
        store.apply(Register {
            issuance: Issuance {
                name: format!("n{number}"),
                ..n1()
            },
            token_id: token(number),
            node_name: "same".into(),
            ..register()
        });
    }
    store.apply(begin_as(1, A));
    store.apply(consume_as(1, A));
    assert_eq!(store.record(2).phase, Phase::Issued);
    assert_eq!(
        said(&store.apply(begin_as(2, B)).outcome),
        "Granted 1 until 5m"
    );
}
