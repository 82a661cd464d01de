//! Events tell what the store has recorded, each once.

use super::*;
use crate::api;

fn notices(effects: &[Effect]) -> Vec<String> {
    let notices = effects.iter().filter_map(|effect| match effect {
        Effect::Publish(notice) => Some(format!("{}: {}", notice.reason, notice.note)),
        _ => None,
    });
    notices.collect()
}

/// Somebody edits a status through its subresource. It once published a second `Admitted`.
#[test]
fn an_edited_status_is_set_right_and_tells_nothing() {
    let edits: [fn(&mut JoinTokenStatus); 4] = [
        |status| status.phase = Some(api::Phase::Issued),
        |status| status.token_id = Some("cd".repeat(16)),
        |status| status.token_id = None,
        |status| status.conditions.clear(),
    ];
    let ends: [fn(&mut Scene); 3] = [
        |scene| scene.consumed(11),
        |scene| {
            scene.consumed(11);
            scene.record().contested = true;
        },
        |scene| scene.aborted(Reason::Revoked, 11),
    ];
    for end in ends {
        let mut scene = Scene::settled(json!({}));
        end(&mut scene);
        scene.play();
        let right = scene.status().clone();
        for edit in edits {
            edit(scene.status());
            let plan = scene.plan();
            assert_eq!(notices(&plan.effects), Vec::<String>::new());
            scene.play();
            let without_conditions = |status: &JoinTokenStatus| JoinTokenStatus {
                conditions: Vec::new(),
                ..status.clone()
            };
            assert_eq!(
                without_conditions(scene.status()),
                without_conditions(&right)
            );
        }
    }
}

/// A live token's resource after revision 2 was registered in its place.
fn superseded() -> (Scene, Record) {
    let mut scene = Scene::settled(json!({}));
    let mut record = Scene::issued(json!({"revision": 2})).record.unwrap();
    record.token_id = TokenId([0xcd; 16]);
    record.changed_at_index = 12;
    scene.aborted(Reason::Superseded, 12);
    let former = scene.record.clone().unwrap();
    let issuance = &scene.entry.as_ref().unwrap().issuance;
    scene.former = InForce::of_former(former, issuance);
    scene.resource.spec.revision = 2;
    (scene, record)
}

#[test]
fn the_end_of_the_token_before_is_told_and_then_the_new_one() {
    let (mut scene, record) = superseded();
    let created = || RegisterOutcome::Created(Box::new(record.clone()));
    let ended =
        "Aborted: revision 1: a later token took the place of this one at 2027-01-15T08:00:00Z";
    let issued = "Issued: the token is in the Secret n1-join-token and may be used until 2027-01-15T09:00:00Z";
    assert_eq!(
        notices(&scene.plan_after(created()).effects),
        [ended, issued]
    );

    // Its end was told before: not again.
    scene.status().phase = Some(api::Phase::Aborted);
    assert_eq!(notices(&scene.plan_after(created()).effects), [issued]);
    let (mut scene, _) = superseded();
    scene.status().store_index = Some(11);
    scene.former.as_mut().unwrap().changed_at_index = 11;
    assert_eq!(notices(&scene.plan_after(created()).effects), [issued]);
}

#[test]
fn the_end_of_the_token_before_is_told_though_the_new_one_has_no_secret_yet() {
    let (scene, record) = superseded();
    let mut view = scene.view();
    view.standing = view.standing.clone().of_outcome(
        RegisterOutcome::Created(Box::new(record)),
        NAMESPACE_UID,
        2,
        |_| None,
    );
    let told = notices(&super::super::secret_refused(&view, "Forbidden"));
    let reasons: Vec<&str> = told
        .iter()
        .filter_map(|told| told.split(':').next())
        .collect();
    assert_eq!(reasons, ["Aborted", "Stalled"]);
}

/// A status can name any token; the records of others are not told.
#[test]
fn a_token_of_another_resource_is_no_former_one() {
    let scene = Scene::issued(json!({}));
    let mut other = scene.entry.as_ref().unwrap().issuance.clone();
    other.name = "n2".to_owned();
    assert_eq!(
        InForce::of_former(scene.record.clone().unwrap(), &other),
        None
    );
}
