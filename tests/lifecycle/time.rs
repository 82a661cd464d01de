//! What time has done to a record counts before any command, whether a sweep came by or not.

use jointoken::lifecycle::command::{Begin, Consume, OfflineRegistration, Register};
use jointoken::lifecycle::outcome::BeginOutcome;
use jointoken::lifecycle::{Operation, Phase};

use crate::support::*;

/// Token 1, registered at minute 0 for an hour; claimed by `A` at minute 0 if so said.
fn store(claimed: bool) -> Store {
    let mut store = Store::founded();
    store.apply(register());
    if claimed {
        store.apply(begin_as(1, A));
    }
    store
}

fn comes_to(mut store: Store, operation: impl Into<Operation>, outcome: &str, record: &str) {
    let operation = operation.into();
    let applied = store.apply(operation.clone());
    assert_eq!(said(&applied.outcome), outcome, "{operation:?}");
    assert_eq!(store.after(token(1)), record, "{operation:?}");
}

#[test]
fn a_token_expires_at_its_expiry_and_not_a_millisecond_before() {
    let mut last = store(false);
    last.wait(HOUR - 1);
    comes_to(
        last,
        begin_as(1, A),
        "Granted 1 until 60m",
        "InFlight attempt 1 by A holder 1 until 60m",
    );
    let mut over = store(false);
    over.wait(HOUR);
    comes_to(over.clone(), begin_as(1, A), "Expired", "Expired");
    comes_to(over.clone(), consume_as(1, A), "Expired", "Expired");
    comes_to(over.clone(), acknowledge_as(1, A), "NotAdmitted", "Expired");
    comes_to(over.clone(), revert(1), "Done", "Expired");
    comes_to(over.clone(), abort(1), "Done", "Expired");
    comes_to(over.clone(), revoke(1), "Done", "Expired");
    comes_to(over, register(), "Existing", "Expired");
}

#[test]
fn a_claim_lapses_at_its_deadline() {
    let mut last = store(true);
    last.wait(5 * MINUTE - 1);
    comes_to(
        last.clone(),
        consume_as(1, A),
        "Admitted leaf",
        "Consumed attempt 1 by A leaf",
    );
    comes_to(
        last,
        begin_as(1, B),
        "ClaimConflict until 5m",
        "InFlight attempt 1 by A holder 1 until 5m",
    );
    let mut over = store(true);
    over.wait(5 * MINUTE);
    comes_to(
        over.clone(),
        consume_as(1, A),
        "StaleClaim",
        "Issued attempt 1",
    );
    comes_to(over.clone(), revert(1), "Done", "Issued attempt 1");
    comes_to(
        over.clone(),
        begin_as(1, B),
        "Granted 2 until 10m",
        "InFlight attempt 2 by B holder 1 until 10m",
    );
    // The same joiner has to claim anew as well: its claim was nobody's for a while.
    comes_to(
        over,
        begin_as(1, A),
        "Granted 2 until 10m",
        "InFlight attempt 2 by A holder 1 until 10m",
    );
}

#[test]
fn a_claim_never_outlives_its_token() {
    let mut late = store(false);
    late.wait(58 * MINUTE).apply(begin_as(1, A));
    assert_eq!(
        late.after(token(1)),
        "InFlight attempt 1 by A holder 1 until 60m"
    );
    late.wait(2 * MINUTE);
    comes_to(
        late.clone(),
        consume_as(1, A),
        "Expired",
        "Expired attempt 1",
    );
    comes_to(
        late,
        sweep(),
        "Sweep(SweepOutcome { changed: 1, forgotten: 0, more: false })",
        "Expired attempt 1",
    );
}

#[test]
fn a_claim_is_as_long_as_its_resource_says() {
    let mut store = Store::founded();
    store.apply(Register {
        in_flight_timeout_ms: Some(20 * MINUTE),
        ..register()
    });
    store.apply(begin_as(1, A));
    assert_eq!(
        store.after(token(1)),
        "InFlight attempt 1 by A holder 1 until 20m"
    );
}

#[test]
fn redelivery_ends_with_its_window() {
    let mut store = store(true);
    store.apply(consume_as(1, A));
    // Long after the token's expiry the joiner admitted in time still gets its answer.
    store.wait(DAY - 1);
    comes_to(
        store.clone(),
        begin_as(1, A),
        "Redeliver leaf",
        "Consumed attempt 1 by A leaf",
    );
    store.wait(1);
    for operation in [
        Operation::from(begin_as(1, A)),
        Operation::from(consume_as(1, A)),
    ] {
        comes_to(
            store.clone(),
            operation,
            "AlreadyConsumed",
            "Consumed attempt 1 by A",
        );
    }
}

#[test]
fn an_acknowledgement_closes_the_window() {
    let mut store = store(true);
    store.apply(consume_as(1, A));
    let window = |store: &Store| {
        let admission = store.record(1).admission.expect("an admission");
        (admission.redeliver_until_ms, admission.leaf.is_some())
    };
    assert_eq!(window(&store), (START + DAY, true));
    store.wait(MINUTE).apply(acknowledge_as(1, A));
    assert_eq!(window(&store), (START + MINUTE, false));
}

#[test]
fn time_never_runs_backwards() {
    let mut store = store(false);
    store.wait(HOUR).apply(sweep());
    store.at_ms = START;
    let applied = store.apply(begin_as(1, A));
    assert_eq!(applied.now_ms, START + HOUR);
    assert_eq!(said(&applied.outcome), "Expired");
    assert_eq!(store.state.now_ms(), START + HOUR);
}

#[test]
fn any_time_at_all_can_be_borne() {
    let mut store = store(true);
    store.at_ms = u64::MAX;
    let again = Register {
        revision: 2,
        token_id: token(2),
        ..register()
    };
    // There is no time left in which a token could be good.
    assert_eq!(said(&store.apply(again).outcome), "Refused Empty");
    store.apply(sweep());
    store.apply(abort(9));
    store.apply(consume_as(1, A));
    assert_eq!(store.record(9).expires_at_ms, u64::MAX);
    assert_eq!(store.state.now_ms(), u64::MAX);
}

/// An offline token, said to be issued and to expire at these times.
fn offline_token(issued_at_ms: Option<u64>, expires_at_ms: u64) -> Begin {
    Begin {
        registration: Some(OfflineRegistration {
            issued_at_ms,
            expires_at_ms,
            ..offline()
        }),
        ..begin_as(1, A)
    }
}

#[test]
fn an_offline_token_past_its_expiry_never_makes_a_record() {
    let mut store = Store::founded();
    store.wait(HOUR);
    let applied = store.apply(offline_token(Some(START), START + HOUR));
    assert_eq!(said(&applied.outcome), "Expired");
    assert_eq!(applied.transitions, []);
    assert_eq!(store.after(token(1)), "none");
}

#[test]
fn an_offline_token_lives_no_longer_than_the_limits() {
    let refused = |store: &mut Store, begin: Begin| said(&store.apply(begin).outcome);
    let mut store = Store::founded();
    let too_long = format!("Refused(TtlTooLong {{ limit_ms: {} }})", 7 * DAY);
    let week = offline_token(Some(START), START + 7 * DAY + 1);
    assert_eq!(refused(&mut store, week), too_long);
    // Without issued-at it counts from now on; a NodeDB token has none.
    let week = offline_token(None, START + 7 * DAY + 1);
    assert_eq!(refused(&mut store, week), too_long);
    let short = |expires_at_ms| Begin {
        registration: Some(OfflineRegistration {
            key_id: SHORT_KEY,
            expires_at_ms,
            ..offline()
        }),
        ..begin_as(1, A)
    };
    let too_long = format!("Refused(TtlTooLong {{ limit_ms: {HOUR} }})");
    assert_eq!(refused(&mut store, short(START + HOUR + 1)), too_long);

    let ahead = START + 5 * MINUTE;
    let future = offline_token(Some(ahead + 1), ahead + HOUR);
    assert_eq!(refused(&mut store, future), "Refused(IssuedInFuture)");
    let empty = offline_token(Some(ahead), ahead);
    assert_eq!(refused(&mut store, empty), "Refused(Empty)");
    assert_eq!(store.state.record_count(), 0);

    let granted = refused(&mut store, offline_token(Some(ahead), ahead + 7 * DAY));
    assert_eq!(granted, "Granted 1 until 5m");
    assert_eq!(store.record(1).issued_at_ms, ahead);
}

#[test]
fn an_offline_token_needs_a_key_that_mints_offline() {
    let with = |key_id| Begin {
        registration: Some(OfflineRegistration {
            key_id,
            ..offline()
        }),
        ..begin_as(1, A)
    };
    let mut store = Store::founded();
    let unknown = jointoken::token::KeyId([9; 8]);
    for (key_id, outcome) in [
        (RESOURCE_KEY, "Refused(KeyPurpose(KeyId(0101010101010101)))"),
        (unknown, "Refused(UnknownKey(KeyId(0909090909090909)))"),
        (NODEDB_KEY, "Granted 1 until 5m"),
        // The id belongs to the other key's token now.
        (OFFLINE_KEY, "Refused(IdInUse)"),
    ] {
        assert_eq!(said(&store.apply(with(key_id)).outcome), outcome);
    }
}

/// The same commands with and without sweeps in between come to the same.
#[test]
fn nothing_depends_on_how_soon_a_sweep_comes_by() {
    let commands: Vec<(u64, Operation)> = vec![
        (0, register().into()),
        (0, begin_as(1, A).into()),
        (6 * MINUTE, begin_as(1, B).into()),
        (0, consume_as(1, A).into()),
        (
            MINUTE,
            Consume {
                attempt: 2,
                ..consume_as(1, B)
            }
            .into(),
        ),
        (DAY, begin_as(1, B).into()),
        (0, acknowledge_as(1, B).into()),
    ];
    let outcomes = |sweeping: bool| -> Vec<String> {
        let mut store = Store::founded();
        let mut outcomes = Vec::new();
        for (wait, operation) in &commands {
            store.wait(*wait);
            if sweeping {
                store.apply(sweep());
            }
            outcomes.push(said(&store.apply(operation.clone()).outcome));
        }
        outcomes
    };
    assert_eq!(outcomes(true), outcomes(false));
    assert_eq!(
        outcomes(true),
        [
            "Created",
            "Granted 1 until 5m",
            "Granted 2 until 11m",
            "StaleClaim",
            "Admitted leaf",
            "AlreadyConsumed",
            "Done"
        ]
    );
}

#[test]
fn the_dates_of_a_certificate_come_from_the_state() {
    let mut store = store(false);
    store.wait(MINUTE);
    let BeginOutcome::Granted { now_ms, record, .. } = store.run(begin_as(1, A)) else {
        panic!("not granted");
    };
    assert_eq!(now_ms, START + MINUTE);
    assert_eq!(record.phase, Phase::InFlight);
}
