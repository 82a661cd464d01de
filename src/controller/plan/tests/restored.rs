//! A store that knows less than the statuses which a former one has written.

use super::*;

const OTHER: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

/// The store was restored, with epoch 2, at place 50 of its log; the status is of epoch 1 and says this.
fn restored(mut scene: Scene, status: Value) -> Scene {
    let mut told = json!({
        "observedGeneration": 3, "phase": "Consumed", "revision": 1, "reissues": 0, "tokenId": OTHER,
        "consumedAt": "2027-01-15T07:00:00Z", "joiner": { "publicKeySha256": "05".repeat(32) },
        "storeEpoch": 1, "storeIndex": 40,
    });
    for (name, value) in status.as_object().unwrap() {
        told[name] = value.clone();
    }
    scene.resource.status = serde_json::from_value(told).unwrap();
    (scene.epoch, scene.restored_at) = (2, Some(50));
    scene
}

/// What the store has after the import that the plan asks for.
fn imported(mut scene: Scene) -> Scene {
    let plan = scene.plan();
    let [Effect::Import(register)] = &plan.effects[..] else {
        panic!("{:?}", said(&plan));
    };
    let spec = scene.resource.spec.clone();
    let known = Scene::issued(json!({}));
    (scene.entry, scene.record) = (known.entry, known.record);
    let entry = scene.entry.as_mut().unwrap();
    (entry.revision, entry.token_id) = (register.revision, register.token_id);
    entry.spec_hash = register.spec_hash;
    let revision = register.revision;
    let record = scene.record();
    record.token_id = register.token_id;
    if let Origin::Resource { revision: its, .. } = &mut record.origin {
        *its = revision;
    }
    scene.resource.spec = spec;
    scene.aborted(Reason::Restored, 61);
    scene
}

#[test]
fn what_the_store_does_not_know_is_imported_before_anything_else() {
    for (phase, spec) in [
        ("Consumed", json!({})),
        ("Issued", json!({"reissuePolicy": "WhenUnused"})),
        ("Expired", json!({"reissuePolicy": "WhenUnused"})),
        ("Issued", json!({"revoked": true})),
    ] {
        let scene = restored(Scene::new(spec), json!({ "phase": phase }));
        assert_eq!(said(&scene.plan()), ["import revision 1", "plan again"]);
        let mut scene = imported(scene);
        let plan = scene.plan();
        let status = written(&plan);
        let ended = if phase == "Issued" { "Aborted" } else { phase };
        assert_eq!(status.phase.unwrap().as_str(), ended);
        // What is known of it stays, the place in the log is this store's.
        assert_eq!(status.token_id.as_deref(), Some(OTHER));
        assert!(status.consumed_at.is_some() && status.joiner.is_some());
        assert_eq!(
            (status.store_epoch, status.store_index),
            (Some(2), Some(61))
        );
        assert_eq!(conditions(&status)[0], "Ready=False/Restored");
        assert!(message(&plan, "Ready").contains("\"revision\":2"));
        scene.play();
        assert_eq!(said(&scene.plan()).len(), 1, "{:?}", said(&scene.plan()));
    }
}

/// An edited status that did not count for this store's epoch. Whose it is says its store, and the API server lets the epoch
/// of another store fall.
#[test]
fn a_former_stores_status_of_a_higher_epoch_is_its_past_like_any_other() {
    let edited = json!({ "storeId": "cc".repeat(16), "storeEpoch": (1u64 << 53) - 2 });
    let mut scene = restored(Scene::new(json!({})), edited);
    scene.former_stores = FormerStores::new([StoreId([0xcc; 16])].into());
    assert_eq!(said(&scene.plan()), ["import revision 1", "plan again"]);
    let mut scene = imported(scene);
    let status = written(&scene.plan());
    assert_eq!(
        (status.store_epoch, status.store_index),
        (Some(2), Some(61))
    );
    scene.play();
    assert_eq!(said(&scene.plan()).len(), 1, "{:?}", said(&scene.plan()));
}

/// A revision that came after the snapshot, which knows one before it.
#[test]
fn a_revision_that_only_the_status_knows_is_not_registered_again() {
    let mut scene = Scene::issued(json!({}));
    scene.consumed(11);
    scene.resource.spec.revision = 2;
    let scene = restored(scene, json!({ "revision": 2 }));
    assert_eq!(said(&scene.plan()), ["import revision 2", "plan again"]);
    assert_eq!(
        said(&imported(scene).plan())[0],
        "status Consumed: Ready=False/Restored, Succeeded=False/Restored, Usable=False/Restored, Stalled=True/Restored"
    );
    // A higher one was asked for: after the import it is new.
    let mut scene = restored(Scene::new(json!({"revision": 3})), json!({ "revision": 2 }));
    assert_eq!(said(&scene.plan()), ["import revision 2", "plan again"]);
    scene = imported(scene);
    assert_eq!(
        scene.play_until_proposal(),
        ["add finalizer", "register revision 3", "plan again"]
    );
    // A lower one is too low.
    let scene = restored(Scene::new(json!({"revision": 1})), json!({ "revision": 2 }));
    assert_eq!(said(&scene.plan()), ["import revision 2", "plan again"]);
    let plan = imported(scene).plan();
    assert_eq!(conditions(&written(&plan))[0], "Ready=False/RevisionTooLow");
}

#[test]
fn an_import_is_of_a_name_that_nobody_chose_and_the_same_each_time() {
    let id = |status: Value| {
        let plan = restored(Scene::new(json!({})), status).plan();
        match &plan.effects[..] {
            [Effect::Import(register)] => register.token_id,
            _ => panic!("{:?}", said(&plan)),
        }
    };
    let first = id(json!({}));
    assert_eq!(first, id(json!({ "phase": "Issued" })));
    assert_ne!(first.to_string(), OTHER);
    assert_ne!(first, id(json!({ "tokenId": ID_TEXT })));
    // Somebody took the token out of the status; its place in the log nobody can.
    assert_ne!(first, id(json!({ "tokenId": null })));
}

#[test]
fn a_status_that_tells_nothing_is_no_reason_to_import() {
    let pending = json!({
        "phase": "Pending", "revision": null, "tokenId": null, "storeIndex": null, "storeEpoch": null,
    });
    let scene = restored(Scene::new(json!({})), pending);
    assert_eq!(said(&scene.plan())[1], "register revision 1");
    // What this store has said itself it has forgotten since.
    let scene = restored(Scene::new(json!({})), json!({ "storeEpoch": 2 }));
    assert_eq!(
        conditions(&written(&scene.plan()))[0],
        "Ready=False/Restored"
    );
}

#[test]
fn an_import_that_was_stopped_half_way_is_ended() {
    let mut scene = imported(restored(Scene::new(json!({})), json!({})));
    scene.becomes(Phase::Issued, 60, |record| record.aborted = None);
    let id = scene.record().token_id;
    assert_eq!(
        said(&scene.plan()),
        [&*format!("abort {id} restored"), "plan again"]
    );
}

#[test]
fn a_resource_that_is_being_deleted_is_imported_first() {
    let mut scene = restored(Scene::new(json!({})), json!({ "phase": "Issued" }));
    scene.add_finalizer();
    scene.resource.metadata.deletion_timestamp = super::super::status::time(NOW_MS);
    assert_eq!(said(&scene.plan()), ["import revision 1", "plan again"]);
    let mut scene = imported(scene);
    assert_eq!(scene.play(), ["remove finalizer", "rest"]);
}

#[test]
fn what_a_store_refuses_to_import_is_not_issued_either() {
    let mut scene = restored(Scene::new(json!({})), json!({}));
    let outcome = RegisterOutcome::Refused(crate::lifecycle::outcome::Refusal::NotFounded);
    let plan = scene.plan_after(outcome);
    assert!(
        plan.effects.iter().all(|effect| !effect.is_proposal()),
        "{:?}",
        said(&plan)
    );
    // What the status tells is all that is known, and stays for the next try.
    let written = written(&plan);
    assert_eq!(written.token_id.as_deref(), Some(OTHER));
    assert_eq!((written.store_epoch, written.revision), (Some(1), Some(1)));
    scene.add_finalizer();
    assert_eq!(said(&scene.plan()), ["import revision 1", "plan again"]);
    for effect in super::super::unavailable(&scene.view(), StoreError::NoLeader) {
        scene.take(&effect);
    }
    assert_eq!(scene.status().token_id.as_deref(), Some(OTHER));
}

/// Snapshot: Expired, unused. Since then it may have been issued again, and used.
#[test]
fn what_ended_unused_before_the_snapshot_is_not_issued_again_by_itself() {
    let spec = json!({"reissuePolicy": "WhenUnused"});
    let ended: [fn(&mut Scene); 2] = [
        |scene| scene.becomes(Phase::Expired, 20, |_| {}),
        |scene| scene.aborted(Reason::Deleted, 20),
    ];
    for end in ended {
        let mut scene = Scene::issued(spec.clone());
        end(&mut scene);
        scene.now_ms += 60 * MINUTE_MS;
        // With its status, with one that tells of the re-issue, and created anew without any.
        let same = restored(scene, json!({ "phase": "Expired", "tokenId": ID_TEXT }));
        let mut told = same;
        let plan = told.plan();
        assert_eq!(conditions(&written(&plan))[0], "Ready=False/Restored");
        assert!(message(&plan, "Ready").contains("issued again after that, and used"));
        told.resource.status = None;
        assert_eq!(
            conditions(&written(&told.plan()))[0],
            "Ready=False/Restored"
        );
        let told = restored(told, json!({ "reissues": 1 }));
        let status = written(&told.plan());
        assert_eq!(status.phase, Some(crate::api::Phase::Consumed));
        assert_eq!(status.token_id.as_deref(), Some(OTHER));
        assert_eq!(conditions(&status)[0], "Ready=False/Restored");
        // What ended after the restore is as ever.
        let mut scene = told;
        scene.resource.status = None;
        scene.restored_at = Some(19);
        scene.add_finalizer();
        assert_eq!(said(&scene.plan())[1], "register revision 1");
    }
}

/// Snapshot: Issued, so it was ended by the restore. The status knows who was admitted.
#[test]
fn who_was_admitted_after_the_snapshot_stays_told() {
    let mut scene = Scene::issued(json!({}));
    scene.aborted(Reason::Restored, 50);
    let mut scene = restored(scene, json!({ "tokenId": ID_TEXT }));
    let plan = scene.plan();
    let status = written(&plan);
    assert_eq!(status.phase, Some(crate::api::Phase::Aborted));
    let joiner = status.joiner.clone().unwrap();
    assert_eq!(joiner.public_key_sha256, Some("05".repeat(32)));
    assert!(status.consumed_at.is_some());
    scene.play();
    assert_eq!(said(&scene.plan()).len(), 1, "{:?}", said(&scene.plan()));
}
