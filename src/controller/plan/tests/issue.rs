//! From a fresh resource to its token, and to the next.

use super::*;
use crate::lifecycle::outcome::{NamespaceBound, Refusal};

#[test]
fn a_fresh_resource_is_registered_behind_its_finalizer() {
    let scene = Scene::new(json!({
        "nodeName": "edge-7", "ttlSeconds": 600, "revision": 4, "reissuePolicy": "WhenUnused",
        "admission": {
            "maxClaims": 3, "inFlightTimeoutSeconds": 90, "sourceCIDRs": ["192.0.2.0/24"],
            "publicKeySha256": "05".repeat(32),
        },
    }));
    let plan = scene.plan();
    assert_eq!(
        plan,
        Plan {
            effects: vec![
                Effect::AddFinalizer,
                Effect::Register(Box::new(crate::lifecycle::command::Register {
                    issuance: Issuance {
                        namespace: "edge".to_owned(),
                        name: "n1".to_owned(),
                    },
                    namespace_uid: NAMESPACE_UID.to_owned(),
                    revision: 4,
                    spec_hash: frozen::spec_hash(&scene.resource),
                    revoked: false,
                    reissue_if_unused: true,
                    token_id: TokenId([0xfe; 16]),
                    key_id: KeyId([1; 8]),
                    node_name: "edge-7".to_owned(),
                    ttl_ms: 600_000,
                    in_flight_timeout_ms: Some(90_000),
                    max_claims: Some(3),
                    bindings: Bindings {
                        source_cidrs: vec!["192.0.2.0/24".parse().unwrap()],
                        joiner: Some(JoinerId([5; 32])),
                    },
                }))
            ],
            then: Then::PlanAgain,
        }
    );
}

#[test]
fn what_was_created_is_handed_over_then_said() {
    let mut scene = Scene::new(json!({}));
    scene.add_finalizer();
    let record = Scene::issued(json!({})).record.unwrap();
    let plan = scene.plan_after(RegisterOutcome::Created(Box::new(record)));
    assert_eq!(
        said(&plan),
        [
            "create Secret n1-join-token",
            "status Issued: Ready=True/Issued, Succeeded=Unknown/Issued, Usable=True/Issued",
            "event Issued",
            // Ten minutes less a part of one that differs between resources.
            &format!("rest {} s", 600 - 40),
        ]
    );
    let Effect::CreateSecret { content, .. } = &plan.effects[0] else {
        panic!("the Secret comes first");
    };
    let secret = content.secret(&scene.resource, SECRET).unwrap();
    let owners = secret.metadata.owner_references.unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!(
        (owners[0].uid.as_str(), owners[0].controller),
        ("uid-1", Some(true))
    );
    // No secret shows where a plan is printed.
    let token = String::from_utf8(secret.data.unwrap()["token"].0.clone()).unwrap();
    assert!(token.starts_with("jt1_"));
    assert!(!format!("{plan:?}").contains(&token));
}

#[test]
fn a_token_is_rendered_the_same_each_time() {
    let scene = Scene::issued(json!({}));
    let again = Scene::issued(json!({}));
    assert_eq!(scene.plan().effects[0], again.plan().effects[0]);
}

#[test]
fn a_higher_revision_is_registered_and_its_secret_takes_the_place_of_the_old() {
    let mut scene = Scene::settled(json!({}));
    scene.resource.spec.revision = 2;
    scene.resource.metadata.generation = Some(4);
    assert_eq!(said(&scene.plan()), ["register revision 2", "plan again"]);
    let mut record = Scene::issued(json!({"revision": 2})).record.unwrap();
    record.token_id = TokenId([0xcd; 16]);
    record.changed_at_index = 12;
    let plan = scene.plan_after(RegisterOutcome::Created(Box::new(record)));
    assert_eq!(
        said(&plan),
        [
            "delete Secret n1-join-token if secret-1",
            "create Secret n1-join-token",
            "status Issued: Ready=True/Issued, Succeeded=Unknown/Issued, Usable=True/Issued",
            "event Issued",
            "rest 560 s",
        ]
    );
    assert_eq!(written(&plan).revision, Some(2));
}

#[test]
fn a_lower_revision_is_ignored_and_said() {
    let mut scene = Scene::settled(json!({"revision": 3}));
    scene.resource.spec.revision = 2;
    let plan = scene.plan();
    assert_eq!(
        said(&plan),
        [
            "status Issued: Ready=True/RevisionTooLow, Succeeded=Unknown/Issued, Usable=True/Issued",
            "rest 560 s",
        ]
    );
    assert_eq!(written(&plan).revision, Some(3));
    assert_eq!(written(&plan).secret_name.as_deref(), Some(SECRET));
    assert_eq!(
        message(&plan, "Ready"),
        "spec.revision 2 is lower than 3, which is in force, and is ignored (the token is in the Secret \
         n1-join-token and may be used until 2027-01-15T09:00:00Z): set it to 3 to keep what is in force, or \
         set spec.revision to 4 for a new token (kubectl -n edge patch jointoken n1 --type=merge -p \
         '{\"spec\":{\"revision\":4}}')"
    );
}

#[test]
fn an_unused_token_is_issued_again_when_asked_and_not_too_soon() {
    let mut scene = Scene::settled(json!({"reissuePolicy": "WhenUnused", "ttlSeconds": 60}));
    scene.now_ms += MINUTE_MS;
    scene.becomes(Phase::Expired, 11, |_| {});
    assert_eq!(
        scene.play(),
        [
            "delete Secret n1-join-token if secret-1",
            "status Expired: Ready=True/ReissueDelayed, Succeeded=Unknown/ReissueDelayed, \
             Usable=False/ReissueDelayed",
            "event Expired",
            "remove finalizer",
            "rest 540 s"
        ]
    );
    scene.now_ms += 9 * MINUTE_MS;
    assert_eq!(
        scene.play_until_proposal(),
        ["add finalizer", "register revision 1", "plan again"]
    );
    // The store's clock is behind ours: it says when.
    let record = Box::new(scene.record.clone().unwrap());
    let plan = scene.plan_after(RegisterOutcome::Existing {
        record,
        reissue_not_before_ms: Some(scene.now_ms + 7_000),
        namespace_differs: false,
    });
    assert_eq!(plan.then, Then::Rest(Some(7_000)));

    let mut record = scene.record.clone().unwrap();
    record.phase = Phase::Issued;
    record.terminal_at_ms = None;
    record.token_id = TokenId([0xcd; 16]);
    record.changed_at_index = 12;
    let Origin::Resource { reissue, .. } = &mut record.origin else {
        unreachable!()
    };
    *reissue = 1;
    let plan = scene.plan_after(RegisterOutcome::Created(Box::new(record)));
    assert!(said(&plan).contains(&"event Reissued".to_owned()));
    assert_eq!(written(&plan).reissues, Some(1));
}

#[test]
fn a_used_or_revoked_token_is_never_issued_again() {
    for end in [
        (|scene| scene.consumed(11)) as fn(&mut Scene),
        |scene| scene.aborted(Reason::Revoked, 11),
        |scene| scene.aborted(Reason::Attempts, 11),
        |scene| scene.aborted(Reason::Operator, 11),
    ] {
        let mut scene = Scene::settled(json!({"reissuePolicy": "WhenUnused"}));
        end(&mut scene);
        scene.play();
        scene.now_ms += 100 * MINUTE_MS;
        assert_eq!(scene.play(), ["rest"]);
    }
}

#[test]
fn what_the_store_refuses_stalls_and_says_why() {
    let mut scene = Scene::new(json!({"ttlSeconds": 604_800}));
    scene.add_finalizer();
    let refused = |refusal| said(&scene.plan_after(RegisterOutcome::Refused(refusal)));
    let stalled = |reason: &str| {
        vec![
            format!(
                "status Pending: Ready=False/{reason}, Succeeded=False/{reason}, Usable=False/{reason}, \
                 Stalled=True/{reason}"
            ),
            "event Stalled".to_owned(),
            "remove finalizer".to_owned(),
            "rest 60 s".to_owned(),
        ]
    };
    let limit_ms = 3_600_000;
    assert_eq!(
        refused(Refusal::TtlTooLong { limit_ms }),
        stalled("TtlTooLong")
    );
    assert_eq!(
        refused(Refusal::UnknownKey(KeyId([1; 8]))),
        stalled("KeyUnavailable")
    );
    assert_eq!(
        refused(Refusal::KeyPurpose(KeyId([1; 8]))),
        stalled("KeyUnavailable")
    );
    assert_eq!(refused(Refusal::FieldTooLong), stalled("Refused"));
    // Not looked at again soon: only who leaves makes room.
    let (of, limit) = (NamespaceBound::Names, 7);
    let mut full = stalled("NamespaceLimit");
    let last = full.pop();
    let mut plan = refused(Refusal::NamespaceFull { of, limit });
    assert_ne!(plan.pop(), last);
    assert_eq!(plan, full);
    let plan = scene.plan_after(RegisterOutcome::Refused(Refusal::TtlTooLong { limit_ms }));
    assert!(message(&plan, "Stalled").contains("more than the 3600 seconds"));
}

#[test]
fn a_token_whose_time_is_over_makes_the_store_look() {
    let mut scene = Scene::settled(json!({}));
    scene.now_ms += 60 * MINUTE_MS;
    assert_eq!(said(&scene.plan()), ["register revision 1", "plan again"]);
    // By the store's clock it still lives: soon again.
    let record = Box::new(scene.record.clone().unwrap());
    let plan = scene.plan_after(RegisterOutcome::Existing {
        record,
        reissue_not_before_ms: None,
        namespace_differs: false,
    });
    assert_eq!(said(&plan), ["rest 5 s"]);
}

/// The store knows better than a status that somebody edited, or that was made of a record which is forgotten;
/// but the API server does not let the position fall.
#[test]
fn a_position_that_is_wrong_is_kept_and_the_rest_is_set_right() {
    let mut scene = Scene::settled(json!({}));
    scene.status().store_index = Some(15);
    scene.status().phase = Some(crate::api::Phase::Consumed);
    let plan = scene.plan();
    let status = written(&plan);
    assert_eq!(status.phase, Some(crate::api::Phase::Issued));
    assert_eq!(
        (status.store_epoch, status.store_index),
        (Some(1), Some(15))
    );
    // A later epoch begins with any index.
    scene.epoch = 2;
    let status = written(&scene.plan());
    assert_eq!(
        (status.store_epoch, status.store_index),
        (Some(2), Some(10))
    );
}

/// The store's volume was set back to a time at which the token was unused: it may have been used since.
#[test]
fn a_status_that_is_ahead_of_the_store_ends_the_token_and_says_what_to_do() {
    let mut scene = Scene::settled(json!({}));
    scene.status().store_index = Some(5_000);
    scene.status_ahead = true;
    let abort = format!("abort {ID_TEXT} restored");
    assert_eq!(said(&scene.plan()), [abort.as_str(), "plan again"]);
    // Another revision would be just as much in the dark.
    scene.resource.spec.revision = 2;
    assert_eq!(said(&scene.plan()), [abort.as_str(), "plan again"]);
    scene.resource.spec.revision = 1;

    scene.aborted(Reason::Restored, 11);
    let plan = scene.plan();
    assert_eq!(
        scene.play(),
        [
            "delete Secret n1-join-token if secret-1",
            "status Aborted: Ready=False/StatusAhead, Succeeded=False/StatusAhead, Usable=False/StatusAhead, \
             Stalled=True/StatusAhead",
            "event Aborted",
            "remove finalizer",
            "rest"
        ]
    );
    assert_eq!(written(&plan).store_index, Some(5_000));
    assert!(
        message(&plan, "Stalled").contains("epoch 1, index 5000")
            && message(&plan, "Stalled").contains("create it again, with spec.revision 2"),
        "{}",
        message(&plan, "Stalled")
    );
    assert_eq!(scene.play(), ["rest"]);

    // What was used was used, and is not called ended.
    let mut used = Scene::settled(json!({}));
    used.status().store_index = Some(5_000);
    used.status_ahead = true;
    used.consumed(11);
    let plan = used.plan();
    assert!(
        message(&plan, "Stalled").contains("was used, as far as the store knows"),
        "{}",
        message(&plan, "Stalled")
    );

    // And if the store has never heard of it, it comes to know that it was there, and issues nothing.
    let known = (scene.entry.take(), scene.record.take());
    scene.resource.spec.revision = 2;
    assert_eq!(said(&scene.plan()), ["import revision 1", "plan again"]);
    (scene.entry, scene.record) = known;
    let plan = scene.plan();
    assert!(!plan.effects.iter().any(Effect::is_proposal), "{plan:?}");
    assert!(message(&plan, "Stalled").contains("with spec.revision 3"));
}

#[test]
fn what_a_former_store_issued_or_this_one_has_forgotten_is_not_issued_again() {
    // Founded anew in the same epoch, or forgotten by a configured age.
    let mut scene = Scene::settled(json!({}));
    (scene.entry, scene.record) = (None, None);
    assert_eq!(
        said(&scene.plan())[0],
        "status Aborted: Ready=False/Restored, Succeeded=False/Restored, Usable=False/Restored, \
         Stalled=True/Restored",
    );
    // The next store gets to know of it (`restored.rs`), whatever its epoch.
    for epoch in [1, 2] {
        let mut scene = Scene::settled(json!({}));
        scene.former_stores = FormerStores::new([STORE].into());
        (scene.store_id, scene.epoch) = (StoreId([8; 16]), epoch);
        (scene.entry, scene.record) = (None, None);
        assert_eq!(said(&scene.plan()), ["import revision 1", "plan again"]);
    }
    // What was issued after the copy of itself that the store was set back to.
    let mut scene = Scene::settled(json!({}));
    scene.status_ahead = true;
    (scene.entry, scene.record) = (None, None);
    assert_eq!(said(&scene.plan()), ["import revision 1", "plan again"]);
}

#[test]
fn a_store_that_cannot_answer_is_said_of_those_who_wait_for_it() {
    let mut scene = Scene::new(json!({}));
    let unavailable = |scene: &Scene| super::super::unavailable(&scene.view(), StoreError::Clock);
    let said = unavailable(&scene).pop().expect("something to say");
    assert_eq!(
        say(&said),
        "status Pending: Ready=Unknown/StoreUnavailable, Succeeded=Unknown/StoreUnavailable, \
         Usable=False/StoreUnavailable, Reconciling=True/StoreUnavailable"
    );
    scene.take(&said);
    assert_eq!(unavailable(&scene), []);
    assert_eq!(unavailable(&Scene::settled(json!({}))), []);
}

#[test]
fn while_a_key_is_missing_nothing_is_issued_and_what_is_there_stays() {
    let mut scene = Scene::new(json!({}));
    scene.keys_in_order = false;
    let stalled = "status Pending: Ready=False/KeyUnavailable, Succeeded=False/KeyUnavailable, \
                   Usable=False/KeyUnavailable, Stalled=True/KeyUnavailable";
    assert_eq!(scene.play(), [stalled, "event Stalled", "rest 60 s"]);
    let mut live = Scene::settled(json!({}));
    live.keys_in_order = false;
    assert_eq!(live.play(), ["rest 560 s"]);
    // Not even with other URLs.
    live.minting.delivery.urls = vec!["https://new:8443".to_owned()];
    assert_eq!(live.play(), ["rest 560 s"]);
    live.secret = SecretSeen::Absent;
    assert_eq!(
        live.play(),
        [
            &stalled.replace("Pending", "Issued"),
            "event Stalled",
            "rest 60 s"
        ]
    );
    // What ends a token needs no key.
    live.resource.spec.revoked = true;
    assert_eq!(
        live.play_until_proposal(),
        [format!("revoke {ID_TEXT} revoked").as_str(), "plan again"]
    );
}
