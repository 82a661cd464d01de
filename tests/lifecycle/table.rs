//! The lifecycle's table, cell by cell: what each command comes to in each state of a record.
//!
//! The token is that of `default/n1`, registered at minute 0 for an hour; `A` claimed it at
//! minute 1 and was admitted in that minute. Claims last five minutes. Commands come at minute 2,
//! to an expired token at minute 61, to a forgotten one after nine days. A cell is the outcome and
//! the record after it; `=` is the record as it was.

use jointoken::lifecycle::command::{Begin, Consume, Register, Revert};
use jointoken::lifecycle::outcome::{
    AbortOutcome, BeginOutcome, ConsumeOutcome, RegisterOutcome, RevokeOutcome,
};
use jointoken::lifecycle::{Operation, Outcome, Phase, Record};

use crate::support::*;

#[derive(Debug, Clone, Copy)]
enum Column {
    Issued,
    InFlight,
    Consumed,
    Expired,
    Aborted,
    Unknown,
    // Issued, for one claim, which was given back:
    UsedUp,
    // Consumed, in other ways:
    Acknowledged,
    WindowOver,
    Barred,
    // Consumed, and the record is gone; the name is remembered:
    Forgotten,
}

use Column::*;

impl Column {
    /// A store with token 1 in this state, at the time when the commands come.
    fn store(self) -> Store {
        let mut store = Store::founded();
        if matches!(self, Unknown) {
            store.wait(2 * MINUTE);
            return store;
        }
        store.apply(Register {
            max_claims: matches!(self, UsedUp).then_some(1),
            ..register()
        });
        store.wait(MINUTE);
        let is_admitted = matches!(
            self,
            Consumed | Acknowledged | WindowOver | Barred | Forgotten
        );
        if is_admitted || matches!(self, InFlight | UsedUp) {
            store.apply(begin_as(1, A));
        }
        if is_admitted {
            store.apply(consume_as(1, A));
        }
        match self {
            Acknowledged => drop(store.apply(acknowledge_as(1, A))),
            Barred => drop(store.apply(revoke(1))),
            Aborted => drop(store.apply(abort(1))),
            Expired => drop(store.wait(59 * MINUTE).apply(sweep())),
            WindowOver => drop(store.wait(DAY).apply(sweep())),
            Forgotten => drop(store.wait(9 * DAY).apply(sweep())),
            UsedUp => drop(store.apply(revert(1))),
            Issued | InFlight | Consumed | Unknown => {}
        }
        store.wait(MINUTE);
        store
    }

    const fn phase(self) -> Option<Phase> {
        match self {
            Issued | UsedUp => Some(Phase::Issued),
            InFlight => Some(Phase::InFlight),
            Consumed | Acknowledged | WindowOver | Barred => Some(Phase::Consumed),
            Expired => Some(Phase::Expired),
            Aborted => Some(Phase::Aborted),
            Unknown | Forgotten => None,
        }
    }
}

type Cell = (Column, &'static str, &'static str);

/// Checks a row of the table.
fn row(operation: impl Into<Operation>, cells: &[Cell]) {
    let operation = operation.into();
    for (column, outcome, record) in cells {
        let mut store = column.store();
        let before = store.state.record(&token(1));
        assert_eq!(before.as_ref().map(|record| record.phase), column.phase());
        let applied = store.apply(operation.clone());
        let cell = format!("{column:?} × {operation:?}");
        assert_eq!(said(&applied.outcome), *outcome, "outcome of {cell}");
        let after = store.state.record(&token(1));
        if let Some(record) = brought(&applied.outcome) {
            assert_eq!(
                Some(record),
                after.as_ref(),
                "the outcome of {cell} is up to date"
            );
        }
        if *record == "=" {
            assert_eq!(after, before, "{cell} changed the record");
            assert_eq!(
                applied.transitions,
                [],
                "{cell} says that something changed"
            );
        } else {
            assert_eq!(store.after(token(1)), *record, "record after {cell}");
            assert_eq!(
                after.map(|record| record.changed_at_index),
                Some(store.index)
            );
            assert_eq!(applied.transitions.len(), 1, "{cell}");
        }
    }
}

/// The record that comes with an outcome.
fn brought(outcome: &Outcome) -> Option<&Record> {
    match outcome {
        Outcome::Register(
            RegisterOutcome::Created(record) | RegisterOutcome::Existing { record, .. },
        )
        | Outcome::Begin(
            BeginOutcome::Granted { record, .. } | BeginOutcome::Redeliver { record, .. },
        )
        | Outcome::Consume(ConsumeOutcome::Admitted { record, .. })
        | Outcome::Abort(AbortOutcome::Done(record) | AbortOutcome::AlreadyConsumed(record))
        | Outcome::Revoke(RevokeOutcome::Done(record) | RevokeOutcome::Barred(record)) => {
            Some(record)
        }
        _ => None,
    }
}

#[test]
fn register_the_same_revision() {
    row(
        register(),
        &[
            (Issued, "Existing", "="),
            (InFlight, "Existing", "="),
            (Consumed, "Existing", "="),
            (Expired, "Existing", "="),
            (Aborted, "Existing", "="),
            (Unknown, "Created", "Issued"),
            (Forgotten, "Remembered Consumed", "="),
        ],
    );
}

#[test]
fn register_other_frozen_fields() {
    row(
        Register {
            spec_hash: [2; 32],
            token_id: token(2),
            ..register()
        },
        &[
            (Issued, "SpecDiffers", "="),
            (InFlight, "SpecDiffers", "="),
            (Consumed, "SpecDiffers", "="),
            (Expired, "SpecDiffers", "="),
            (Aborted, "SpecDiffers", "="),
            (Forgotten, "SpecDiffers", "="),
        ],
    );
}

#[test]
fn register_a_lower_revision() {
    row(
        Register {
            revision: 0,
            token_id: token(2),
            ..register()
        },
        &[
            (Issued, "Superseded by 1", "="),
            (InFlight, "Superseded by 1", "="),
            (Consumed, "Superseded by 1", "="),
            (Expired, "Superseded by 1", "="),
            (Aborted, "Superseded by 1", "="),
            (Forgotten, "Superseded by 1", "="),
        ],
    );
}

/// What became of token 1 and of token 2 when a new one was created.
fn succession(command: Register, cells: &[(Column, &str, &str)]) {
    for (column, former, new) in cells {
        let mut store = column.store();
        let before = store.after(token(1));
        let applied = store.apply(command.clone());
        assert_eq!(said(&applied.outcome), "Created", "{column:?}");
        let former = if *former == "=" { &before } else { *former };
        assert_eq!(store.after(token(1)), former, "{column:?}");
        assert_eq!(store.after(token(2)), *new, "{column:?}");
        assert_eq!(said(&store.apply(command.clone()).outcome), "Existing");
    }
}

#[test]
fn register_a_higher_revision() {
    let command = Register {
        revision: 2,
        token_id: token(2),
        ..register()
    };
    let new = "Issued revision 2 reissue 0";
    succession(
        command,
        &[
            (Issued, "Aborted (superseded)", new),
            (InFlight, "Aborted (superseded) attempt 1", new),
            (Consumed, "=", new),
            (Expired, "=", new),
            (Aborted, "=", new),
            (Forgotten, "=", new),
        ],
    );
}

#[test]
fn register_a_higher_revision_that_is_revoked() {
    let command = Register {
        revision: 2,
        revoked: true,
        token_id: token(2),
        ..register()
    };
    let new = "Aborted revision 2 reissue 0 (revoked)";
    succession(
        command,
        &[
            (Issued, "Aborted (superseded)", new),
            (Consumed, "=", new),
            (Expired, "=", new),
        ],
    );
    row(
        Register {
            revoked: true,
            ..register()
        },
        &[(Unknown, "Created", "Aborted (revoked)")],
    );
}

#[test]
fn register_the_same_revision_when_it_may_be_issued_again() {
    let command = Register {
        reissue_if_unused: true,
        token_id: token(2),
        ..register()
    };
    row(
        command.clone(),
        &[
            (Issued, "Existing", "="),
            (InFlight, "Existing", "="),
            (Consumed, "Existing", "="),
            (Forgotten, "Remembered Consumed", "="),
            // It expired long enough after it was issued, see below.
            // Deleted at minute 1: not sooner than ten minutes after it was issued.
            (Aborted, "Existing, reissue from 10m", "="),
        ],
    );
    succession(command, &[(Expired, "=", "Issued revision 1 reissue 1")]);
}

#[test]
fn begin_as_the_joiner() {
    row(
        Begin {
            holder: SECOND_HOLDER,
            ..begin_as(1, A)
        },
        &[
            (
                Issued,
                "Granted 1 until 7m",
                "InFlight attempt 1 by A holder 2 until 7m",
            ),
            (
                InFlight,
                "Granted 1 until 7m",
                "InFlight attempt 1 by A holder 2 until 7m",
            ),
            (Consumed, "Redeliver leaf", "="),
            (Expired, "Expired", "="),
            (Aborted, "Aborted(Deleted)", "="),
            (Unknown, "NotFound", "="),
            (
                UsedUp,
                "Granted 2 until 7m",
                "InFlight attempt 2 by A holder 2 until 7m SigningFailed",
            ),
            (Acknowledged, "AlreadyConsumed", "="),
            (WindowOver, "AlreadyConsumed", "="),
            (Barred, "Revoked", "="),
            (Forgotten, "NotFound", "="),
        ],
    );
}

#[test]
fn begin_as_another() {
    row(
        begin_as(1, B),
        &[
            (
                Issued,
                "Granted 1 until 7m",
                "InFlight attempt 1 by B holder 1 until 7m",
            ),
            (InFlight, "ClaimConflict until 6m", "="),
            (
                Consumed,
                "AlreadyConsumed",
                "Consumed attempt 1 by A leaf contested",
            ),
            (Expired, "Expired", "="),
            (Aborted, "Aborted(Deleted)", "="),
            (Unknown, "NotFound", "="),
            (
                Acknowledged,
                "AlreadyConsumed",
                "Consumed attempt 1 by A contested",
            ),
            (
                WindowOver,
                "AlreadyConsumed",
                "Consumed attempt 1 by A contested",
            ),
            (
                Barred,
                "AlreadyConsumed",
                "Consumed attempt 1 by A barred (revoked) contested",
            ),
        ],
    );
}

#[test]
fn begin_with_the_registration_of_an_offline_token() {
    row(
        Begin {
            registration: Some(offline()),
            ..begin_as(1, A)
        },
        // Token 1 is that of a resource: with an exported key nobody gets at it.
        &[
            (Issued, "Refused(IdInUse)", "="),
            (InFlight, "Refused(IdInUse)", "="),
            (Consumed, "Refused(IdInUse)", "="),
            (Expired, "Refused(IdInUse)", "="),
            (Aborted, "Refused(IdInUse)", "="),
        ],
    );
    let mut store = Unknown.store();
    let applied = store.apply(Begin {
        registration: Some(offline()),
        ..begin_as(1, A)
    });
    assert_eq!(said(&applied.outcome), "Granted 1 until 7m");
    assert_eq!(
        store.after(token(1)),
        "InFlight of edge-1 attempt 1 by A holder 1 until 7m"
    );
    let steps: Vec<_> = (applied.transitions.iter())
        .map(|step| (step.from, step.to))
        .collect();
    assert_eq!(
        steps,
        [
            (None, Some(Phase::Issued)),
            (Some(Phase::Issued), Some(Phase::InFlight))
        ]
    );
}

#[test]
fn consume_the_claim() {
    row(
        consume_as(1, A),
        &[
            (Issued, "StaleClaim", "="),
            (InFlight, "Admitted leaf", "Consumed attempt 1 by A leaf"),
            (Consumed, "Admitted leaf", "="),
            (Expired, "Expired", "="),
            (Aborted, "Aborted(Deleted)", "="),
            (Unknown, "NotFound", "="),
            (Acknowledged, "AlreadyConsumed", "="),
            (WindowOver, "AlreadyConsumed", "="),
            (Barred, "Revoked", "="),
        ],
    );
}

#[test]
fn consume_the_claim_with_another_certificate() {
    row(
        Consume {
            leaf: b"other".to_vec(),
            ..consume_as(1, A)
        },
        &[
            (InFlight, "Admitted other", "Consumed attempt 1 by A other"),
            // The one kept first, or one token would have two certificates.
            (Consumed, "Admitted leaf", "="),
        ],
    );
}

#[test]
fn consume_as_another() {
    row(
        consume_as(1, B),
        &[
            (Issued, "StaleClaim", "="),
            (InFlight, "StaleClaim", "="),
            (Consumed, "AlreadyConsumed", "="),
            (Expired, "Expired", "="),
            (Aborted, "Aborted(Deleted)", "="),
            (Unknown, "NotFound", "="),
            (Acknowledged, "AlreadyConsumed", "="),
            (WindowOver, "AlreadyConsumed", "="),
            (Barred, "AlreadyConsumed", "="),
        ],
    );
}

#[test]
fn consume_with_another_attempt() {
    row(
        Consume {
            attempt: 2,
            ..consume_as(1, A)
        },
        &[
            (Issued, "StaleClaim", "="),
            (InFlight, "StaleClaim", "="),
            (Consumed, "AlreadyConsumed", "="),
        ],
    );
}

#[test]
fn acknowledge_as_the_joiner() {
    row(
        acknowledge_as(1, A),
        &[
            (Issued, "NotAdmitted", "="),
            (InFlight, "NotAdmitted", "="),
            (Consumed, "Done", "Consumed attempt 1 by A"),
            (Expired, "NotAdmitted", "="),
            (Aborted, "NotAdmitted", "="),
            (Unknown, "NotFound", "="),
            (Acknowledged, "Done", "="),
            (WindowOver, "Done", "="),
            (Barred, "Done", "="),
        ],
    );
}

#[test]
fn acknowledge_as_another() {
    row(
        acknowledge_as(1, B),
        &[
            (Issued, "NotAdmitted", "="),
            (InFlight, "NotAdmitted", "="),
            (Consumed, "NotAdmitted", "="),
            (Expired, "NotAdmitted", "="),
            (Aborted, "NotAdmitted", "="),
            (Unknown, "NotFound", "="),
            (Acknowledged, "NotAdmitted", "="),
            (WindowOver, "NotAdmitted", "="),
            (Barred, "NotAdmitted", "="),
        ],
    );
}

#[test]
fn revert_the_claim() {
    row(
        revert(1),
        &[
            (Issued, "Done", "="),
            (InFlight, "Done", "Issued attempt 1 SigningFailed"),
            (Consumed, "AlreadyConsumed", "="),
            (Expired, "Done", "="),
            (Aborted, "Done", "="),
            (Unknown, "NotFound", "="),
            (Acknowledged, "AlreadyConsumed", "="),
            (WindowOver, "AlreadyConsumed", "="),
            (Barred, "AlreadyConsumed", "="),
        ],
    );
}

#[test]
fn revert_the_claim_of_another() {
    for stale in [
        Revert {
            attempt: 2,
            ..revert(1)
        },
        Revert {
            attempt: 0,
            ..revert(1)
        },
        Revert {
            holder: SECOND_HOLDER,
            ..revert(1)
        },
    ] {
        row(
            stale,
            &[
                (Issued, "Done", "="),
                (InFlight, "StaleClaim", "="),
                (Consumed, "AlreadyConsumed", "="),
                (Expired, "Done", "="),
                (Aborted, "Done", "="),
                (Unknown, "NotFound", "="),
            ],
        );
    }
}

#[test]
fn abort_the_token() {
    row(
        abort(1),
        &[
            (Issued, "Done", "Aborted (deleted)"),
            (InFlight, "Done", "Aborted (deleted) attempt 1"),
            (Consumed, "AlreadyConsumed", "="),
            (Expired, "Done", "="),
            (Aborted, "Done", "="),
            (Unknown, "Tombstone", "Aborted tombstone for ever (deleted)"),
            (Acknowledged, "AlreadyConsumed", "="),
            (WindowOver, "AlreadyConsumed", "="),
            (Barred, "AlreadyConsumed", "="),
        ],
    );
}

#[test]
fn revoke_the_token() {
    row(
        revoke(1),
        &[
            (Issued, "Done", "Aborted (revoked)"),
            (InFlight, "Done", "Aborted (revoked) attempt 1"),
            (
                Consumed,
                "Barred",
                "Consumed attempt 1 by A barred (revoked)",
            ),
            (Expired, "Done", "="),
            (Aborted, "Done", "="),
            (Unknown, "Tombstone", "Aborted tombstone for ever (revoked)"),
            (
                Acknowledged,
                "Barred",
                "Consumed attempt 1 by A barred (revoked)",
            ),
            (
                WindowOver,
                "Barred",
                "Consumed attempt 1 by A barred (revoked)",
            ),
            (Barred, "Barred", "="),
        ],
    );
}

#[test]
fn sweep_when_nothing_is_due() {
    let nothing = "Sweep(SweepOutcome { changed: 0, forgotten: 0, more: false })";
    row(
        sweep(),
        &[
            (Issued, nothing, "="),
            (InFlight, nothing, "="),
            (Consumed, nothing, "="),
            (Expired, nothing, "="),
            (Aborted, nothing, "="),
            (Unknown, nothing, "="),
        ],
    );
}

#[test]
fn sweep_when_something_is_due() {
    for (column, wait, changed, forgotten, record) in [
        (Issued, HOUR, 1, 0, "Expired"),
        (InFlight, 5 * MINUTE, 1, 0, "Issued attempt 1"),
        (InFlight, HOUR, 1, 0, "Expired attempt 1"),
        (Consumed, DAY, 1, 0, "Consumed attempt 1 by A"),
        (Consumed, 8 * DAY, 1, 1, "none"),
        (Acknowledged, 8 * DAY, 0, 1, "none"),
        (Expired, 8 * DAY, 0, 1, "none"),
        (Aborted, 8 * DAY, 0, 1, "none"),
        // Its machine may have a certificate for as long as that.
        (
            Barred,
            6 * DAY,
            0,
            0,
            "Consumed attempt 1 by A barred (revoked)",
        ),
        (Barred, 8 * DAY, 0, 1, "none"),
    ] {
        let mut store = column.store();
        let applied = store.wait(wait).apply(sweep());
        let cell = format!("{column:?} after {wait} ms");
        let said = format!(
            "Sweep(SweepOutcome {{ changed: {changed}, forgotten: {forgotten}, more: false }})"
        );
        assert_eq!(format!("{:?}", applied.outcome), said, "{cell}");
        assert_eq!(store.after(token(1)), record, "{cell}");
    }
}
