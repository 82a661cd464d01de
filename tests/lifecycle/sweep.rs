//! `Sweep`, and when what is forgotten.

use jointoken::lifecycle::command::{Abort, Begin, Forget, OfflineRegistration, Revoke, Sweep};
use jointoken::lifecycle::outcome::{ForgetOutcome, SweepOutcome};

use crate::support::*;

fn swept(changed: u32, forgotten: u32, more: bool) -> SweepOutcome {
    SweepOutcome {
        changed,
        forgotten,
        more,
    }
}

/// Claims an offline token that expires at this time, and gives it back.
fn seen(store: &mut Store, number: u8, expires_at_ms: u64) {
    store.apply(Begin {
        registration: Some(OfflineRegistration {
            expires_at_ms,
            ..offline()
        }),
        ..begin_as(number, A)
    });
    store.apply(revert(number));
}

#[test]
fn what_is_due_is_done_in_order_of_time() {
    let mut store = Store::founded();
    for (number, minutes) in [(1, 30), (2, 10), (3, 20), (4, 40), (5, 10)] {
        seen(&mut store, number, START + minutes * MINUTE);
    }
    assert_eq!(store.state.next_due_ms(), Some(START + 10 * MINUTE));
    assert_eq!(store.run(sweep()), swept(0, 0, false));
    store.wait(35 * MINUTE);
    let mut order = Vec::new();
    for (limit, outcome) in [(3, swept(3, 0, true)), (3, swept(1, 0, false))] {
        let applied = store.apply(Sweep { limit });
        order.extend(applied.transitions.iter().map(|step| step.token_id));
        assert_eq!(
            applied.outcome,
            jointoken::lifecycle::Outcome::Sweep(outcome)
        );
    }
    assert_eq!(order, [2, 5, 3, 1].map(token));
    assert_eq!(store.state.next_due_ms(), Some(START + 40 * MINUTE));
    assert_eq!(store.run(Sweep { limit: 0 }), swept(0, 0, false));
}

#[test]
fn one_sweep_does_all_that_became_due_with_one_record() {
    let mut store = Store::founded();
    store.apply(register());
    store.apply(begin_as(1, A));
    store.wait(30 * DAY);
    // It expired only now, as far as anybody was told: it stays for its retention.
    assert_eq!(store.run(sweep()), swept(1, 0, false));
    assert_eq!(store.state.next_due_ms(), Some(START + 37 * DAY));
    store.wait(7 * DAY);
    assert_eq!(store.run(sweep()), swept(0, 1, false));
    assert_eq!(store.state.record_count(), 0);
    assert_eq!(store.state.next_due_ms(), None);
}

/// Sweeps at these times and tells whether the record of token 1 is still there.
fn is_kept_until(mut store: Store, forgotten_at_ms: u64) {
    store.apply(sweep());
    assert_eq!(store.state.next_due_ms(), Some(forgotten_at_ms));
    store.at_ms = forgotten_at_ms - 1;
    store.apply(sweep());
    assert_ne!(store.after(token(1)), "none");
    store.wait(1).apply(sweep());
    assert_eq!(store.after(token(1)), "none");
}

#[test]
fn a_record_is_kept_until_its_retention_is_over() {
    let mut store = Store::founded();
    store.apply(register());
    store.wait(MINUTE).apply(abort(1));
    is_kept_until(store, START + MINUTE + 7 * DAY);
}

#[test]
fn a_record_is_kept_until_its_token_has_expired() {
    let mut store = Store::founded();
    store.configure(|settings| settings.retention_ms = 0);
    store.apply(register());
    store.wait(MINUTE).apply(abort(1));
    is_kept_until(store, START + HOUR);
}

#[test]
fn an_admission_is_kept_until_redelivery_is_over() {
    let mut store = Store::founded();
    store.configure(|settings| settings.retention_ms = 0);
    store.admit(1, 1);
    store.at_ms = START + DAY - 1;
    store.apply(sweep());
    assert_eq!(store.after(token(1)), "Consumed attempt 1 by A leaf");
    store.wait(1);
    // The certificate is dropped, and with it the last reason to keep the record.
    assert_eq!(store.run(sweep()), swept(1, 1, false));
}

#[test]
fn a_bar_is_kept_until_the_last_certificate_has_ended() {
    let mut store = Store::founded();
    store.configure(|settings| settings.retention_ms = 0);
    store.admit(1, 1);
    store.wait(2 * DAY).apply(revoke(1));
    is_kept_until(store, START + 9 * DAY);
}

#[test]
fn an_admission_under_other_settings_is_kept_by_the_new_ones() {
    let mut store = Store::founded();
    store.admit(1, 1);
    store.apply(acknowledge_as(1, A));
    store.configure(|settings| settings.retention_ms = 30 * DAY);
    is_kept_until(store, START + 30 * DAY);
}

#[test]
fn a_tombstone_is_kept_until_its_token_has_expired() {
    let longest = 7 * DAY + 5 * MINUTE;
    for (rules, keep_until_ms, forgotten_at_ms) in [
        (2, None, START + longest),
        (3, Some(START + 20 * DAY), START + 20 * DAY),
        // Never less than a certificate may live that was given for it long ago.
        (3, Some(START + MINUTE), START + 7 * DAY),
    ] {
        let mut store = Store::founded_by(rules);
        store.configure(|settings| settings.retention_ms = 0);
        let mut other = store.clone();
        store.apply(Abort {
            keep_until_ms,
            ..abort(1)
        });
        is_kept_until(store, forgotten_at_ms);
        other.apply(Revoke {
            keep_until_ms,
            ..revoke(1)
        });
        is_kept_until(other, forgotten_at_ms);
    }
}

#[test]
fn issuances_stay_for_ever_unless_told_otherwise() {
    let mut store = Store::founded();
    store.admit(1, 1);
    store.wait(8 * DAY).apply(sweep());
    store.wait(3650 * DAY).apply(sweep());
    assert_eq!(store.entry().token_id, token(1));

    store.configure(|settings| settings.remember_issuances_ms = Some(DAY));
    assert_eq!(store.state.next_due_ms(), Some(START + DAY));
    assert_eq!(store.run(sweep()), swept(0, 1, false));
    assert_eq!(
        store.run(Forget { issuance: n1() }),
        ForgetOutcome::NotFound
    );
}

#[test]
fn an_issuance_outlives_its_record() {
    let mut store = Store::founded();
    store.configure(|settings| settings.remember_issuances_ms = Some(DAY));
    store.apply(register());
    store.wait(HOUR).apply(sweep());
    store.wait(7 * DAY - 1).apply(sweep());
    assert_eq!(store.entry().token_id, token(1));
    store.wait(1);
    assert_eq!(store.run(sweep()), swept(0, 2, false));
    assert_eq!(store.state.issuances().count(), 0);
}

#[test]
fn the_work_of_a_sweep_grows_with_what_is_due() {
    let mut store = Store::founded();
    for number in 0..200 {
        seen(
            &mut store,
            number,
            START + HOUR + u64::from(number) * SECOND,
        );
    }
    store.wait(HOUR + 9 * SECOND);
    let applied = store.apply(sweep());
    assert_eq!(applied.transitions.len(), 10);
}
