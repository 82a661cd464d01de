//! `Register`: one token for one (namespace, name, revision, reissue), however often it is asked for.

use jointoken::lifecycle::command::{Begin, Bindings, Forget, Register};
use jointoken::lifecycle::outcome::{ForgetOutcome, RegisterOutcome};
use jointoken::lifecycle::record::Origin;
use jointoken::lifecycle::{Phase, Reason, State};
use jointoken::token::KeyId;

use crate::support::*;

/// Revision 1 again, as token 2, and it may be issued again if it was not used.
fn reissue() -> Register {
    Register {
        reissue_if_unused: true,
        token_id: token(2),
        ..register()
    }
}

fn answer(store: &mut Store, command: Register) -> String {
    said(&store.apply(command).outcome)
}

#[test]
fn the_record_says_what_renders_the_token_again() {
    let mut store = Store::founded();
    let RegisterOutcome::Created(record) = store.run(register()) else {
        panic!("not created");
    };
    let Origin::Resource {
        issuance,
        revision,
        reissue,
        key_id,
        node_name,
    } = &record.origin
    else {
        panic!("not a resource's");
    };
    assert_eq!((issuance, *revision, *reissue), (&n1(), 1, 0));
    assert_eq!((*key_id, node_name.as_str()), (RESOURCE_KEY, "n1"));
    assert_eq!(record.issued_at_ms, START);
    assert_eq!(record.expires_at_ms, START + HOUR);
    assert_eq!(store.entry().token_id, token(1));
}

#[test]
fn a_reissue_waits_ten_minutes_from_the_last_issuance() {
    let mut store = Store::founded();
    store.apply(Register {
        ttl_ms: MINUTE,
        ..register()
    });
    store.wait(10 * MINUTE - 1);
    assert_eq!(answer(&mut store, reissue()), "Existing, reissue from 10m");
    assert_eq!(store.after(token(1)), "Expired");
    store.wait(1);
    assert_eq!(answer(&mut store, reissue()), "Created");
    assert_eq!(store.after(token(2)), "Issued revision 1 reissue 1");
    // And the next one, ten minutes after that.
    store.wait(MINUTE).apply(abort(2));
    let third = Register {
        token_id: token(3),
        ..reissue()
    };
    assert_eq!(
        answer(&mut store, third.clone()),
        "Existing, reissue from 20m"
    );
    store.wait(9 * MINUTE);
    assert_eq!(answer(&mut store, third), "Created");
    assert_eq!(store.after(token(3)), "Issued revision 1 reissue 2");
    assert_eq!(store.entry().reissue, 2);
}

#[test]
fn only_an_unused_token_is_issued_again() {
    for (reason, outcome) in [
        (Reason::Deleted, "Created"),
        (Reason::Revoked, "Existing"),
        (Reason::Superseded, "Existing"),
        (Reason::Attempts, "Existing"),
        (Reason::Restored, "Existing"),
        (Reason::Operator, "Existing"),
    ] {
        let mut store = Store::founded();
        store.apply(register());
        store.apply(jointoken::lifecycle::command::Abort { reason, ..abort(1) });
        store.wait(HOUR);
        assert_eq!(answer(&mut store, reissue()), outcome, "{reason:?}");
    }
    let mut store = Store::founded();
    store.admit(1, 1);
    store.wait(HOUR);
    assert_eq!(answer(&mut store, reissue()), "Existing");
}

#[test]
fn a_revoked_resource_is_never_issued_again() {
    let mut store = Store::founded();
    store.apply(register());
    store.wait(HOUR);
    let revoked = Register {
        revoked: true,
        ..reissue()
    };
    assert_eq!(answer(&mut store, revoked), "Existing");
    assert_eq!(store.after(token(1)), "Expired");
}

#[test]
fn what_became_of_a_forgotten_record_is_remembered() {
    let mut store = Store::founded();
    store.admit(1, 1);
    store.wait(8 * DAY).apply(sweep());
    assert_eq!(store.after(token(1)), "none");
    let RegisterOutcome::Remembered(entry) = store.run(register()) else {
        panic!("not remembered");
    };
    assert_eq!(entry.phase, Phase::Consumed);
    assert_eq!((entry.token_id, entry.at_ms), (token(1), START));
    assert_eq!(entry.last_admission, Some(token(1)));
    // Also when it might have been issued again: it was used.
    assert_eq!(answer(&mut store, reissue()), "Remembered Consumed");
    let lower = Register {
        revision: 0,
        ..register()
    };
    assert_eq!(answer(&mut store, lower), "Superseded by 1");
    let differs = Register {
        spec_hash: [2; 32],
        ..register()
    };
    assert_eq!(answer(&mut store, differs), "SpecDiffers");
    let higher = Register {
        revision: 2,
        token_id: token(2),
        ..register()
    };
    assert_eq!(answer(&mut store, higher), "Created");
}

#[test]
fn an_unused_token_can_be_issued_again_after_its_record_is_forgotten() {
    let mut store = Store::founded();
    store.apply(register());
    store.wait(HOUR).apply(sweep());
    store.wait(8 * DAY).apply(sweep());
    assert_eq!(store.after(token(1)), "none");
    assert_eq!(answer(&mut store, register()), "Remembered Expired");
    assert_eq!(answer(&mut store, reissue()), "Created");
    assert_eq!(store.after(token(2)), "Issued revision 1 reissue 1");
}

#[test]
fn a_namespace_made_anew_adopts_the_record_and_is_told_so() {
    let mut store = Store::founded();
    store.admit(1, 1);
    let elsewhere = Register {
        namespace_uid: "another".into(),
        ..register()
    };
    for (command, differs) in [(register(), false), (elsewhere.clone(), true)] {
        let RegisterOutcome::Existing {
            namespace_differs, ..
        } = store.run(command)
        else {
            panic!("not existing");
        };
        assert_eq!(namespace_differs, differs);
    }
    // Asking does not make it the new namespace's: the next to ask is told the same.
    assert_eq!(store.entry().namespace_uid, register().namespace_uid);
    store.apply(Register {
        revision: 2,
        token_id: token(2),
        ..elsewhere
    });
    assert_eq!(store.entry().namespace_uid, "another");
    assert_eq!(store.entry().last_admission, Some(token(1)));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut store = Store::founded();
    store.apply(register());
    store.apply(abort(9));
    let before = store.after(token(1));
    let next = Register {
        revision: 2,
        token_id: token(2),
        ..register()
    };
    let week = format!("Refused TtlTooLong {{ limit_ms: {} }}", 7 * DAY);
    let cidrs = vec!["10.0.0.0/8".parse().expect("a range"); 17];
    for (command, outcome) in [
        (
            Register {
                key_id: KeyId([9; 8]),
                ..next.clone()
            },
            "Refused UnknownKey(KeyId(0909090909090909))",
        ),
        (
            Register {
                key_id: OFFLINE_KEY,
                ..next.clone()
            },
            "Refused KeyPurpose(KeyId(0202020202020202))",
        ),
        (
            Register {
                ttl_ms: 7 * DAY + 1,
                ..next.clone()
            },
            week.as_str(),
        ),
        (
            Register {
                ttl_ms: 0,
                ..next.clone()
            },
            "Refused Empty",
        ),
        (
            Register {
                node_name: "n".repeat(64),
                ..next.clone()
            },
            "Refused FieldTooLong",
        ),
        (
            Register {
                bindings: Bindings {
                    source_cidrs: cidrs,
                    joiner: None,
                },
                ..next.clone()
            },
            "Refused FieldTooLong",
        ),
        // The token in force, and an id that was aborted before anybody knew it.
        (
            Register {
                token_id: token(1),
                ..next.clone()
            },
            "Refused IdInUse",
        ),
        (
            Register {
                token_id: token(9),
                ..next.clone()
            },
            "Refused IdInUse",
        ),
    ] {
        let image = store.state.encode();
        assert_eq!(answer(&mut store, command), outcome);
        assert_eq!(store.state.encode(), image, "{outcome}");
        assert_eq!(store.after(token(1)), before, "{outcome}");
    }
    assert_eq!(answer(&mut store, next), "Created");
}

#[test]
fn nothing_is_registered_before_the_store_is_founded() {
    let mut store = Store {
        state: State::new(),
        index: 0,
        at_ms: START,
    };
    assert_eq!(answer(&mut store, register()), "Refused NotFounded");
    let begin = Begin {
        registration: Some(offline()),
        ..begin_as(1, A)
    };
    assert_eq!(said(&store.apply(begin).outcome), "Refused(NotFounded)");
}

#[test]
fn the_admission_of_a_later_revision_bars_the_former_machine() {
    let mut store = Store::founded();
    store.admit(1, 1);
    store.apply(Register {
        revision: 2,
        token_id: token(2),
        ..register()
    });
    store.apply(begin_as(2, B));
    // Registering or claiming is not enough: the former machine goes on until it is replaced.
    assert_eq!(store.after(token(1)), "Consumed attempt 1 by A leaf");
    let applied = store.apply(consume_as(2, B));
    assert_eq!(said(&applied.outcome), "Admitted leaf");
    assert_eq!(applied.transitions.len(), 2);
    assert_eq!(
        store.after(token(1)),
        "Consumed attempt 1 by A barred (superseded)"
    );
    assert_eq!(store.entry().last_admission, Some(token(2)));
    assert_eq!(said(&store.apply(begin_as(1, A)).outcome), "Revoked");
}

#[test]
fn a_former_machine_whose_record_is_forgotten_is_barred_by_a_tombstone() {
    let mut store = Store::founded();
    store.admit(1, 1);
    store.wait(8 * DAY).apply(sweep());
    store.admit(2, 2);
    // For as long as its last certificate may be good.
    assert_eq!(
        store.after(token(1)),
        format!("Aborted tombstone until {}m (superseded)", 15 * 24 * 60)
    );
}

/// Whoever has an exported key chooses ids, and the id of a forgotten record is free. Were it taken
/// just before the successor joins, the former machine must not escape its bar by it.
#[test]
fn a_former_machine_is_barred_though_its_id_was_taken() {
    for admitted in [false, true] {
        let mut store = Store::founded();
        store.admit(1, 1);
        store.wait(8 * DAY).apply(sweep());
        let mut taken = offline();
        taken.issued_at_ms = Some(store.at_ms);
        taken.expires_at_ms = store.at_ms + HOUR;
        store.apply(Begin {
            registration: Some(taken),
            ..begin_as(1, B)
        });
        if admitted {
            store.apply(consume_as(1, B));
        }
        store.admit(2, 2);
        let barred = match admitted {
            false => "Aborted (superseded) attempt 1",
            true => "Consumed of edge-1 attempt 1 by B barred (superseded)",
        };
        assert_eq!(store.after(token(1)), barred);
    }
}

#[test]
fn former_machines_stay_when_the_settings_say_so() {
    let mut store = Store::founded();
    store.configure(|settings| settings.supersede = false);
    store.admit(1, 1);
    store.admit(2, 2);
    assert_eq!(store.after(token(1)), "Consumed attempt 1 by A leaf");
    assert_eq!(store.entry().last_admission, Some(token(2)));
}

#[test]
fn a_name_can_be_used_afresh_once_it_is_forgotten() {
    let mut store = Store::founded();
    let forget = Forget { issuance: n1() };
    assert_eq!(store.run(forget.clone()), ForgetOutcome::NotFound);
    store.apply(register());
    assert_eq!(store.run(forget.clone()), ForgetOutcome::Live);
    store.wait(HOUR);
    // It has expired, though no sweep came by.
    assert_eq!(store.run(forget.clone()), ForgetOutcome::Done);
    assert_eq!(store.run(forget), ForgetOutcome::NotFound);
    assert_eq!(store.after(token(1)), "Expired");
    let again = Register {
        token_id: token(2),
        ..register()
    };
    assert_eq!(answer(&mut store, again), "Created");
    assert_eq!(store.after(token(2)), "Issued");
}
