//! The table of conditions, row by row, and the whole of a status.

use super::*;
use crate::lifecycle::command::Failure;
use crate::lifecycle::record::{Bar, LastFailure};

/// What the conditions say once the token is in this state.
fn row(change: impl FnOnce(&mut Scene)) -> Vec<String> {
    let mut scene = Scene::settled(json!({}));
    change(&mut scene);
    conditions(&written(&scene.plan()))
}

#[test]
fn every_row() {
    let pending = Scene {
        config: ControllerConfig {
            node_names: [("edge".to_owned(), "db-*".parse().unwrap())].into(),
            ..ControllerConfig::default()
        },
        ..Scene::new(json!({}))
    };
    assert_eq!(
        conditions(&written(&pending.plan())),
        [
            "Ready=False/NameNotAllowed",
            "Succeeded=False/NameNotAllowed",
            "Usable=False/NameNotAllowed",
            "Stalled=True/NameNotAllowed"
        ]
    );
    assert_eq!(
        row(|scene| scene.record().attempts = 3),
        [
            "Ready=True/Issued",
            "Succeeded=Unknown/Issued",
            "Usable=True/Issued"
        ]
    );
    assert_eq!(
        row(|scene| scene.claimed(11)),
        [
            "Ready=True/InFlight",
            "Succeeded=Unknown/InFlight",
            "Usable=False/InFlight"
        ]
    );
    assert_eq!(
        row(|scene| scene.consumed(11)),
        [
            "Ready=True/Consumed",
            "Succeeded=True/Consumed",
            "Usable=False/Consumed"
        ]
    );
    assert_eq!(
        row(|scene| scene.becomes(Phase::Expired, 11, |_| {})),
        [
            "Ready=True/Expired",
            "Succeeded=False/Expired",
            "Usable=False/Expired"
        ]
    );
    for (reason, said) in [
        (Reason::Revoked, "Revoked"),
        (Reason::Deleted, "Deleted"),
        (Reason::Superseded, "Superseded"),
        (Reason::Operator, "AbortedByOperator"),
    ] {
        assert_eq!(
            row(|scene| scene.aborted(reason, 11)),
            [
                format!("Ready=True/{said}"),
                format!("Succeeded=False/{said}"),
                format!("Usable=False/{said}")
            ]
        );
    }
    for (reason, said) in [
        (Reason::Attempts, "TooManyClaims"),
        (Reason::Restored, "Restored"),
    ] {
        assert_eq!(
            row(|scene| scene.aborted(reason, 11)),
            [
                format!("Ready=False/{said}"),
                format!("Succeeded=False/{said}"),
                format!("Usable=False/{said}"),
                format!("Stalled=True/{said}")
            ]
        );
    }
}

#[test]
fn a_barred_machine_was_admitted_all_the_same() {
    let barred = |reason| {
        row(|scene| {
            scene.consumed(11);
            let bar = Some(Bar {
                reason,
                at_ms: NOW_MS,
            });
            scene.record().admission.as_mut().unwrap().barred = bar;
        })
    };
    assert_eq!(
        barred(Reason::Revoked),
        [
            "Ready=True/Revoked",
            "Succeeded=True/Consumed",
            "Usable=False/Consumed"
        ]
    );
    assert_eq!(
        barred(Reason::Superseded),
        [
            "Ready=True/Consumed",
            "Succeeded=True/Consumed",
            "Usable=False/Consumed"
        ]
    );
}

#[test]
fn a_contested_token_shows_and_goes_on_showing_when_its_record_is_forgotten() {
    let mut scene = Scene::settled(json!({}));
    scene.consumed(11);
    scene.play();
    scene.record().contested = true;
    scene.record().changed_at_index = 12;
    assert_eq!(
        scene.play(),
        [
            "status Consumed: Ready=True/Consumed, Succeeded=True/Consumed, Usable=False/Consumed, \
             Contested=True/UsedByAnotherKey",
            "event Contested",
            "rest"
        ]
    );
    scene.record = None;
    scene.entry.as_mut().unwrap().changed_at_index = 20;
    let before = scene.status().clone();
    let plan = scene.plan();
    let after = written(&plan);
    // Who joined and when is known no better than before, and no worse.
    assert_eq!(after.store_index, Some(20));
    let after = JoinTokenStatus {
        store_index: before.store_index,
        ..after
    };
    let without_messages = |status: &JoinTokenStatus| {
        let mut status = json!(status);
        for condition in status["conditions"].as_array_mut().unwrap() {
            condition["message"].take();
        }
        status
    };
    assert_eq!(without_messages(&after), without_messages(&before));
}

#[test]
fn the_whole_of_a_status() {
    let mut scene = Scene::settled(json!({"revision": 2}));
    scene.now_ms += 30_500;
    scene.claimed(11);
    scene.record().last_failure = Some(LastFailure {
        failure: Failure::SigningFailed,
        at_ms: NOW_MS + 1_999,
    });
    let message = "a machine has claimed the token and its certificate is being made; its claim lapses at \
                   2027-01-15T08:05:30Z";
    let condition = |kind: &str, is: &str, since: &str| {
        json!({
            "type": kind, "status": is, "reason": "InFlight", "message": message,
            "observedGeneration": 3, "lastTransitionTime": since,
        })
    };
    assert_eq!(
        json!(written(&scene.plan())),
        json!({
            "observedGeneration": 3,
            "phase": "InFlight",
            "revision": 2,
            "reissues": 0,
            "tokenId": ID_TEXT,
            "issuedAt": "2027-01-15T08:00:00Z",
            "expiresAt": "2027-01-15T09:00:00Z",
            "attempts": 1,
            "joiner": {
                "nodeName": "n1", "address": "192.0.2.5", "publicKeySha256": "05".repeat(32),
            },
            "secretName": SECRET,
            "lastFailure": { "reason": "SigningFailed", "time": "2027-01-15T08:00:01Z" },
            "storeId": "09".repeat(16),
            "storeEpoch": 1,
            "storeIndex": 11,
            "conditions": [
                // As before, so the time is that of before; only Usable has changed.
                condition("Ready", "True", "2027-01-15T08:00:00Z"),
                condition("Succeeded", "Unknown", "2027-01-15T08:00:00Z"),
                condition("Usable", "False", "2027-01-15T08:00:30Z"),
            ],
        })
    );
}

#[test]
fn messages_say_what_to_do() {
    let mut scene = Scene::settled(json!({}));
    scene.becomes(Phase::Expired, 11, |_| {});
    assert_eq!(
        message(&scene.plan(), "Ready"),
        "nobody used the token in time at 2027-01-15T08:00:00Z: set spec.revision to 2 for a new token \
         (kubectl -n edge patch jointoken n1 --type=merge -p '{\"spec\":{\"revision\":2}}')"
    );
    let mut scene = Scene::settled(json!({"revision": crate::api::MAX_INTEGER}));
    scene.becomes(Phase::Expired, 11, |_| {});
    assert!(message(&scene.plan(), "Ready").contains("no revision is left for this name"));
    let mut scene = Scene::settled(json!({}));
    scene.consumed(11);
    assert_eq!(
        message(&scene.plan(), "Succeeded"),
        "a machine was admitted at 2027-01-15T08:00:00Z from 192.0.2.5"
    );
}
