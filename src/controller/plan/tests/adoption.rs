//! A resource that is created anew takes over what its name has on record.

use super::*;

/// The resource as somebody has just created it again.
fn anew(mut scene: Scene) -> Scene {
    scene.resource.status = None;
    scene.resource.metadata.finalizers = None;
    scene
}

#[test]
fn after_use_nothing_is_issued_and_the_way_out_is_said() {
    let mut scene = Scene::issued(json!({}));
    scene.consumed(11);
    let mut scene = anew(scene);
    let plan = scene.plan();
    assert_eq!(
        message(&plan, "Adopted"),
        "revision 1 was used at 2027-01-15T08:00:00Z before this resource was created, so no token is issued for \
         it: set spec.revision to 2 for a new token (kubectl -n edge patch jointoken n1 --type=merge -p \
         '{\"spec\":{\"revision\":2}}')"
    );
    let adopted = "status Consumed: Ready=True/Consumed, Succeeded=True/Consumed, Usable=False/Consumed, \
                   Adopted=True/AdoptedConsumed";
    assert_eq!(scene.play(), [adopted, "event Adopted", "rest"]);
    assert_eq!(scene.play(), ["rest"]);
    // Long afterwards, when its record is forgotten, too.
    scene.record = None;
    let mut scene = anew(scene);
    assert_eq!(scene.play(), [adopted, "event Adopted", "rest"]);
}

#[test]
fn what_is_live_is_taken_over_and_marked_before_it_gets_its_finalizer() {
    let mut scene = anew(Scene::settled(json!({})));
    scene.secret = SecretSeen::Former {
        uid: "former-1".to_owned(),
    };
    assert_eq!(
        scene.play(),
        [
            "delete Secret n1-join-token if former-1",
            "create Secret n1-join-token",
            "status Issued: Ready=True/Issued, Succeeded=Unknown/Issued, Usable=True/Issued, \
             Adopted=True/AdoptedLive",
            "event Adopted",
            "add finalizer",
            "rest 560 s"
        ]
    );
    // It goes on being adopted while the token does.
    scene.consumed(11);
    assert_eq!(
        scene.play()[1],
        "status Consumed: Ready=True/Consumed, Succeeded=True/Consumed, Usable=False/Consumed, \
         Adopted=True/AdoptedConsumed"
    );
}

#[test]
fn a_registration_that_was_interrupted_is_ones_own() {
    // Finalizer and record are there, the status is not: the operator stopped in between.
    let mut scene = Scene::issued(json!({}));
    scene.add_finalizer();
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

#[test]
fn an_ended_token_is_issued_again_only_if_asked() {
    let mut scene = Scene::issued(json!({}));
    scene.aborted(Reason::Deleted, 11);
    let mut scene = anew(scene);
    assert_eq!(
        scene.play(),
        [
            "status Aborted: Ready=True/Deleted, Succeeded=False/Deleted, Usable=False/Deleted, \
             Adopted=True/AdoptedEnded",
            "event Adopted",
            "rest"
        ]
    );
    let mut scene = Scene::issued(json!({"reissuePolicy": "WhenUnused"}));
    scene.aborted(Reason::Deleted, 11);
    let mut scene = anew(scene);
    let waiting = scene.plan();
    assert_eq!(
        message(&waiting, "Adopted"),
        "the token of revision 1 ended unused at 2027-01-15T08:00:00Z before this resource was created: it will be \
         issued again at 2027-01-15T08:10:00Z"
    );
    scene.now_ms += 10 * MINUTE_MS;
    assert_eq!(
        scene.play_until_proposal(),
        ["add finalizer", "register revision 1", "plan again"]
    );
}

#[test]
fn other_frozen_fields_stall() {
    let mut scene = Scene::issued(json!({}));
    scene.consumed(11);
    let mut scene = anew(scene);
    scene.resource.spec.ttl_seconds = 61;
    let plan = scene.plan();
    assert_eq!(
        said(&plan),
        [
            "status Consumed: Ready=False/SpecDiffers, Succeeded=False/SpecDiffers, Usable=False/SpecDiffers, \
             Stalled=True/SpecDiffers",
            "event Stalled",
            "rest 60 s"
        ]
    );
    // Setting them back is not offered: the API server compares with what this resource was created with.
    assert_eq!(
        message(&plan, "Stalled"),
        "revision 1 was registered at 2027-01-15T08:00:00Z with another nodeName, ttlSeconds, admission or secretName: \
         delete this resource and apply it with what was registered, or set spec.revision to 2 for a new token \
         (kubectl -n edge patch jointoken n1 --type=merge -p '{\"spec\":{\"revision\":2}}')"
    );
    let mut live = anew(Scene::issued(json!({})));
    live.resource.spec.ttl_seconds = 61;
    assert!(
        message(&live.plan(), "Stalled")
            .contains("delete this resource, which ends its token, and")
    );
}

/// Backup tools restore finalizers.
#[test]
fn a_resource_that_was_restored_with_its_finalizer_adopts_too() {
    let mut scene = Scene::issued(json!({}));
    scene.consumed(11);
    let mut scene = anew(scene);
    scene.add_finalizer();
    let minutes_later = |minutes: u64| super::super::status::time(NOW_MS + minutes * MINUTE_MS);
    scene.resource.metadata.creation_timestamp = minutes_later(6);
    let plan = scene.plan();
    assert!(
        said(&plan).contains(&"event Adopted".to_owned()),
        "{plan:?}"
    );
    // Clocks differ: this one may well be the resource that was registered.
    scene.resource.metadata.creation_timestamp = minutes_later(4);
    let plan = scene.plan();
    assert!(
        said(&plan).contains(&"event Admitted".to_owned()),
        "{plan:?}"
    );
}

/// Somebody else may hold that token: whoever had the namespace's name before.
#[test]
fn a_live_token_of_a_former_namespace_is_ended() {
    let mut scene = Scene::issued(json!({}));
    scene.entry.as_mut().unwrap().namespace_uid = "ns-0".to_owned();
    let mut scene = anew(scene);
    let abort = format!("abort {ID_TEXT} deleted");
    assert_eq!(said(&scene.plan()), [abort.as_str(), "plan again"]);
    scene.aborted(Reason::Deleted, 12);
    let plan = scene.plan();
    assert_eq!(
        said(&plan)[0],
        "status Aborted: Ready=True/Deleted, Succeeded=False/Deleted, Usable=False/Deleted, \
         Adopted=True/AdoptedEnded",
    );
}

#[test]
fn who_joined_a_former_namespace_is_not_told() {
    let mut scene = Scene::issued(json!({}));
    scene.consumed(11);
    scene.entry.as_mut().unwrap().namespace_uid = "ns-0".to_owned();
    let scene = anew(scene);
    let plan = scene.plan();
    let status = written(&plan);
    let joiner = status.joiner.clone().unwrap();
    assert_eq!((joiner.address, joiner.public_key_sha256), (None, None));
    assert!(!json!(status).to_string().contains("192.0.2.5"));
    assert_eq!(status.consumed_at, super::super::status::time(NOW_MS));
    // Nor what the machine was called, which other frozen fields could ask for.
    let mut scene = scene;
    scene.resource.spec.node_name = Some("mine".to_owned());
    let status = written(&scene.plan());
    assert_eq!(status.joiner.unwrap().node_name.as_deref(), Some("mine"));
}

#[test]
fn a_resource_is_claimed_before_anything_is_registered() {
    let fresh = ["add finalizer", "register revision 1", "plan again"];
    let mut scene = Scene::new(json!({}));
    assert_eq!(scene.play_until_proposal(), fresh);
    let claim = scene.resource.metadata.annotations.as_ref().unwrap()[CLAIM].clone();
    assert_eq!(claim, format!("{STORE}/uid-1"));
    assert_eq!(scene.play_until_proposal(), &fresh[1..]);
    // A finalizer that came with the manifest is no claim, and a claim of a store that was taken over is not this one's.
    let mut scene = Scene::new(json!({}));
    scene.resource.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    assert_eq!(scene.play_until_proposal(), fresh);
    scene.former_stores = FormerStores::new([STORE].into());
    scene.store_id = StoreId([8; 16]);
    assert_eq!(scene.play_until_proposal(), fresh);
    assert_eq!(scene.play_until_proposal(), &fresh[1..]);
}
