//! Whose a Secret is and what becomes of it.

use super::*;
use crate::controller::secret::SecretSeen;

fn former() -> SecretSeen {
    SecretSeen::Former {
        uid: "former-1".to_owned(),
    }
}

#[test]
fn a_vanished_secret_of_a_live_token_is_made_again() {
    let mut scene = Scene::settled(json!({}));
    scene.secret = SecretSeen::Absent;
    assert_eq!(
        scene.play(),
        [
            "create Secret n1-join-token",
            "event SecretRestored",
            "rest 560 s"
        ]
    );
    scene.claimed(11);
    scene.play();
    scene.secret = SecretSeen::Absent;
    assert_eq!(
        scene.play(),
        [
            "create Secret n1-join-token",
            "event SecretRestored",
            "rest 300 s"
        ]
    );
}

#[test]
fn what_a_former_resource_left_is_replaced() {
    let mut scene = Scene::settled(json!({}));
    scene.secret = former();
    assert_eq!(
        scene.play(),
        [
            "delete Secret n1-join-token if former-1",
            "create Secret n1-join-token",
            "rest 560 s"
        ]
    );
}

#[test]
fn a_new_door_re_renders_the_secret() {
    let mut scene = Scene::settled(json!({}));
    scene.minting.delivery.urls = vec!["https://new:8443".to_owned()];
    assert_eq!(
        scene.play(),
        [
            "delete Secret n1-join-token if secret-1",
            "create Secret n1-join-token",
            "rest 560 s"
        ]
    );
}

#[test]
fn somebody_elses_secret_stops_an_issue_before_it_is_registered() {
    let mut scene = Scene::new(json!({}));
    scene.secret = SecretSeen::Foreign;
    let conflict = "status Pending: Ready=False/SecretConflict, Succeeded=False/SecretConflict, \
                    Usable=False/SecretConflict, Stalled=True/SecretConflict";
    assert_eq!(scene.play(), [conflict, "event Stalled", "rest 60 s"]);
    assert_eq!(scene.play(), ["rest 60 s"]);
    // Put in the place of ours, while the token lives: reported, not touched.
    let mut scene = Scene::settled(json!({}));
    scene.secret = SecretSeen::Foreign;
    assert_eq!(
        scene.play(),
        [
            &conflict.replace("Pending", "Issued"),
            "event Stalled",
            "rest 60 s"
        ]
    );
    assert_eq!(scene.status().secret_name, None);
    // And none of our business once the token has ended.
    scene.consumed(11);
    assert_eq!(
        scene.play(),
        [
            "status Consumed: Ready=True/Consumed, Succeeded=True/Consumed, Usable=False/Consumed",
            "event Admitted",
            "remove finalizer",
            "rest"
        ]
    );
}

/// Deleting it would take another machine's token away.
#[test]
fn a_name_that_is_taken_by_another_join_token_is_said() {
    let mut scene = Scene::new(json!({}));
    let plan = Scene::issued(json!({})).plan();
    let Effect::CreateSecret { name, content } = &plan.effects[0] else {
        panic!("the Secret comes first");
    };
    let mut other = scene.resource.clone();
    other.metadata.name = Some("n2".to_owned());
    let mut secret = content.secret(&other, name).unwrap();
    scene.secret = SecretSeen::of(Some(&secret), &scene.resource);
    assert_eq!(
        message(&scene.plan(), "Stalled"),
        "the Secret n1-join-token belongs to JoinToken n2: set another spec.secretName, for which spec.revision has to \
         be raised"
    );
    let conflict = "status Pending: Ready=False/SecretConflict, Succeeded=False/SecretConflict, \
                    Usable=False/SecretConflict, Stalled=True/SecretConflict";
    assert_eq!(scene.play(), [conflict, "event Stalled", "rest 60 s"]);
    // Owners are not checked by the API server: what cannot be a name is not repeated.
    secret.metadata.owner_references.as_mut().unwrap()[0].name = "n".repeat(254);
    let seen = SecretSeen::of(Some(&secret), &scene.resource);
    assert_eq!(seen, SecretSeen::Foreign);
}

/// A minute's token would be over before the ten minutes of others.
#[test]
fn the_secret_of_a_short_lived_token_is_looked_at_in_time() {
    let mut rests = Vec::new();
    for ttl_ms in [60_000, 10 * MINUTE_MS, 60 * MINUTE_MS] {
        let mut scene = Scene::issued(json!({}));
        let record = scene.record();
        record.expires_at_ms = record.issued_at_ms + ttl_ms;
        scene.add_finalizer();
        scene.play();
        rests.push(scene.play());
    }
    // A quarter of it less a part that differs between resources.
    assert_eq!(rests, [["rest 14 s"], ["rest 140 s"], ["rest 560 s"]]);
}

#[test]
fn a_kept_secret_stays_and_is_not_restored() {
    let mut scene = Scene::settled(json!({"secretRetention": "Keep"}));
    scene.consumed(11);
    assert_eq!(
        scene.play(),
        [
            "status Consumed: Ready=True/Consumed, Succeeded=True/Consumed, Usable=False/Consumed",
            "event Admitted",
            "remove finalizer",
            "rest"
        ]
    );
    assert_eq!(scene.status().secret_name.as_deref(), Some(SECRET));
    scene.secret = SecretSeen::Absent;
    let plan = scene.plan();
    assert!(
        !plan
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::CreateSecret { .. }))
    );
}

#[test]
fn another_name_for_the_secret_takes_the_old_one_away() {
    let mut scene = Scene::settled(json!({}));
    scene.resource.spec.revision = 2;
    scene.resource.spec.secret_name = Some("moved-join-token".to_owned());
    scene.former_secret = scene.secret.clone();
    scene.secret = SecretSeen::Absent;
    let mut record = scene.record.clone().unwrap();
    record.token_id = TokenId([0xcd; 16]);
    let plan = scene.plan_after(RegisterOutcome::Created(Box::new(record)));
    assert_eq!(
        said(&plan)[..2],
        [
            "create Secret moved-join-token",
            "delete Secret n1-join-token if secret-1"
        ]
    );
    assert_eq!(
        written(&plan).secret_name.as_deref(),
        Some("moved-join-token")
    );
}

#[test]
fn a_token_of_another_key_cannot_be_rendered_but_what_is_there_stays() {
    let mut scene = Scene::settled(json!({}));
    let other = SigningKey::from_bytes(Purpose::Resource, KeyId([8; 8]), &[8; 32]);
    scene.minting.key = Arc::new(other);
    assert_eq!(scene.play(), ["rest 560 s"]);
    scene.secret = SecretSeen::Absent;
    let stalled = "status Issued: Ready=False/KeyUnavailable, Succeeded=False/KeyUnavailable, \
                   Usable=False/KeyUnavailable, Stalled=True/KeyUnavailable";
    assert_eq!(scene.play(), [stalled, "event Stalled", "rest 60 s"]);
}

#[test]
fn secrets_are_looked_for_only_while_something_depends_on_them() {
    let look =
        |scene: &Scene| super::super::secrets::to_look_at(&scene.resource, &scene.standing());
    assert_eq!(look(&Scene::new(json!({}))), (true, None));
    let mut scene = Scene::settled(json!({}));
    assert_eq!(look(&scene), (true, None));
    scene.consumed(11);
    assert_eq!(look(&scene), (true, None));
    scene.play();
    assert_eq!(look(&scene), (false, None));
    // A re-created resource does not know what the former one left.
    scene.resource.status = None;
    assert_eq!(look(&scene), (true, None));

    let mut scene = Scene::settled(json!({}));
    scene.resource.spec.secret_name = Some("moved-join-token".to_owned());
    assert_eq!(look(&scene), (true, Some(SECRET.to_owned())));
}

/// A status can be edited, and a name in it leads where its editor wants: to another namespace even.
#[test]
fn a_name_in_the_status_that_is_no_tokens_secret_is_never_looked_up() {
    for forged in [
        "../../other/secrets/n1-join-token",
        "x?dryRun=All&y=-join-token",
        "argocd-secret",
    ] {
        let mut scene = Scene::settled(json!({}));
        scene.status().secret_name = Some(forged.to_owned());
        let look = super::super::secrets::to_look_at(&scene.resource, &scene.standing());
        assert_eq!(look, (true, None), "{forged}");
        // Whatever there may be: it is not touched, and the status is set right.
        scene.former_secret = former();
        scene.consumed(11);
        let said = scene.play();
        assert!(
            said.iter().all(|effect| !effect.contains(forged)),
            "{said:?}"
        );
        assert_eq!(scene.status().secret_name, None);
    }
}

#[test]
fn a_spec_that_names_anything_else_is_not_served() {
    let mut scene = Scene::new(json!({"secretName": "argocd-secret"}));
    let look = super::super::secrets::to_look_at(&scene.resource, &scene.standing());
    assert_eq!(look, (false, None));
    scene.secret = SecretSeen::NotLookedAt;
    let plan = scene.plan();
    assert_eq!(
        said(&plan)[0],
        "status Pending: Ready=False/Refused, Succeeded=False/Refused, Usable=False/Refused, \
         Stalled=True/Refused"
    );
    assert!(message(&plan, "Stalled").contains("must end in -join-token"));
}

/// An owner can be added to any Secret; a type cannot be changed.
#[test]
fn a_secret_is_ours_by_its_owner_and_its_type() {
    let scene = Scene::issued(json!({}));
    let plan = scene.plan();
    let Effect::CreateSecret { name, content } = &plan.effects[0] else {
        panic!("the Secret comes first");
    };
    let made = content.secret(&scene.resource, name).unwrap();
    let seen = |secret| SecretSeen::of(Some(&secret), &scene.resource);
    assert!(matches!(seen(made.clone()), SecretSeen::Ours { .. }));
    let mut typed = made.clone();
    typed.type_ = Some("Opaque".to_owned());
    assert_eq!(seen(typed), SecretSeen::Foreign);
    let mut held = made.clone();
    held.metadata.deletion_timestamp = super::super::status::time(NOW_MS);
    assert_eq!(seen(held), SecretSeen::Held);
    let mut owned = made;
    owned.metadata.owner_references = None;
    assert_eq!(seen(owned), SecretSeen::Foreign);
}

#[test]
fn a_secret_that_something_holds_while_it_is_deleted_is_said() {
    let mut scene = Scene::settled(json!({}));
    scene.secret = SecretSeen::Held;
    let plan = scene.plan();
    assert_eq!(
        said(&plan)[0],
        "status Issued: Ready=False/SecretConflict, Succeeded=False/SecretConflict, \
         Usable=False/SecretConflict, Stalled=True/SecretConflict"
    );
    assert!(message(&plan, "Stalled").contains("take the finalizers off"));
    assert!(
        !plan
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::CreateSecret { .. }))
    );
}

/// A quota, a policy: the token's time is running, and without this its resource would say nothing at all.
#[test]
fn a_secret_that_the_api_server_does_not_take_is_said() {
    let mut scene = Scene::issued(json!({}));
    scene.add_finalizer();
    let effects = super::super::secret_refused(&scene.view(), "Forbidden");
    let said: Vec<String> = effects.iter().map(say).collect();
    assert_eq!(
        said,
        [
            "status Issued: Ready=False/SecretRefused, Succeeded=False/SecretRefused, \
             Usable=False/SecretRefused, Stalled=True/SecretRefused",
            "event Stalled",
        ]
    );
    effects.iter().for_each(|effect| scene.take(effect));
    assert_eq!(
        scene.play(),
        [
            "create Secret n1-join-token",
            "status Issued: Ready=True/Issued, Succeeded=Unknown/Issued, Usable=True/Issued",
            "event Issued",
            "rest 560 s"
        ]
    );
}
