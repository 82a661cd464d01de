//! How tokens end, by the user's hand and by others'.

use super::*;

#[test]
fn a_used_token_is_scrubbed_reported_and_let_go() {
    let mut scene = Scene::settled(json!({}));
    scene.consumed(11);
    assert_eq!(
        scene.play(),
        [
            "delete Secret n1-join-token if secret-1",
            "status Consumed: Ready=True/Consumed, Succeeded=True/Consumed, Usable=False/Consumed",
            "event Admitted",
            "remove finalizer",
            "rest"
        ]
    );
    assert_eq!(scene.status().secret_name, None);
    assert_eq!(scene.play(), ["rest"]);
}

#[test]
fn a_claim_shows_and_so_does_its_end() {
    let mut scene = Scene::settled(json!({}));
    scene.claimed(11);
    assert_eq!(
        scene.play(),
        [
            "status InFlight: Ready=True/InFlight, Succeeded=Unknown/InFlight, Usable=False/InFlight",
            "event Claimed",
            // Its deadline.
            "rest 300 s"
        ]
    );
    scene.becomes(Phase::Issued, 12, |record| record.claim = None);
    assert_eq!(
        scene.play(),
        [
            "status Issued: Ready=True/Issued, Succeeded=Unknown/Issued, Usable=True/Issued",
            "event ClaimReverted",
            "rest 560 s"
        ]
    );
    let joiner = scene.status().joiner.clone().unwrap();
    assert_eq!((joiner.address, joiner.public_key_sha256), (None, None));
}

#[test]
fn a_revocation_goes_first_whatever_else_is_wrong() {
    let revoke = format!("revoke {ID_TEXT} revoked");
    let mut scene = Scene::settled(json!({}));
    scene.resource.spec.revoked = true;
    scene.secret = SecretSeen::Foreign;
    assert_eq!(said(&scene.plan()), [revoke.as_str(), "plan again"]);
    // Of a lower revision, and with other frozen fields: it acts on what is in force.
    scene.entry.as_mut().unwrap().revision = 9;
    assert_eq!(said(&scene.plan()), [revoke.as_str(), "plan again"]);
    scene.entry.as_mut().unwrap().revision = 1;
    scene.entry.as_mut().unwrap().spec_hash = [0; 32];
    assert_eq!(said(&scene.plan()), [revoke.as_str(), "plan again"]);

    let mut scene = Scene::settled(json!({}));
    scene.consumed(11);
    scene.play();
    scene.resource.spec.revoked = true;
    assert_eq!(said(&scene.plan()), [revoke.as_str(), "plan again"]);
    let bar = crate::lifecycle::record::Bar {
        reason: Reason::Revoked,
        at_ms: NOW_MS,
    };
    scene.record().admission.as_mut().unwrap().barred = Some(bar);
    scene.record().changed_at_index = 12;
    assert_eq!(
        scene.play(),
        [
            "status Consumed: Ready=True/Revoked, Succeeded=True/Consumed, Usable=False/Consumed",
            "event Revoked",
            "rest"
        ]
    );
}

/// A status that was edited, or that is of another store, once kept the operator from revoking.
#[test]
fn no_status_keeps_a_token_alive() {
    let mut scene = Scene::settled(json!({}));
    scene.status().store_epoch = Some(9);
    scene.status().store_index = Some(1 << 40);
    scene.status_ahead = true;
    scene.resource.spec.revoked = true;
    let revoke = format!("revoke {ID_TEXT} revoked");
    assert_eq!(said(&scene.plan()), [revoke.as_str(), "plan again"]);
    scene.resource.metadata.deletion_timestamp = super::super::status::time(NOW_MS);
    let abort = format!("abort {ID_TEXT} deleted");
    assert_eq!(said(&scene.plan()), [abort.as_str(), "plan again"]);
}

#[test]
fn a_resource_born_revoked_is_registered_as_such() {
    let mut scene = Scene::new(json!({"revoked": true}));
    // No Secret is wanted, so none is in the way.
    scene.secret = SecretSeen::Foreign;
    let plan = scene.plan();
    assert_eq!(
        said(&plan),
        ["add finalizer", "register revision 1", "plan again"]
    );
    let Effect::Register(register) = &plan.effects[1] else {
        unreachable!()
    };
    assert!(register.revoked);
    scene.add_finalizer();
    let mut born = Scene::issued(json!({}));
    born.aborted(Reason::Revoked, 10);
    let plan = scene.plan_after(RegisterOutcome::Created(Box::new(born.record.unwrap())));
    assert_eq!(
        said(&plan),
        [
            "status Aborted: Ready=True/Revoked, Succeeded=False/Revoked, Usable=False/Revoked",
            "event Revoked",
            "remove finalizer",
            "rest"
        ]
    );
}

#[test]
fn a_deletion_aborts_what_lives_and_never_revokes() {
    let deleted = |mut scene: Scene| {
        let at = super::super::status::time(NOW_MS);
        scene.resource.metadata.deletion_timestamp = at;
        scene
    };
    let abort = format!("abort {ID_TEXT} deleted");
    let mut live = deleted(Scene::settled(json!({})));
    assert_eq!(said(&live.plan()), [abort.as_str(), "plan again"]);
    live.claimed(11);
    assert_eq!(said(&live.plan()), [abort.as_str(), "plan again"]);
    // With `revoked` set too: a deletion is a deletion.
    live.resource.spec.revoked = true;
    assert_eq!(said(&live.plan()), [abort.as_str(), "plan again"]);
    // Of another revision than the spec's: what is in force is ended.
    live.resource.spec.revision = 7;
    assert_eq!(said(&live.plan()), [abort.as_str(), "plan again"]);

    live.aborted(Reason::Deleted, 12);
    assert_eq!(
        said(&live.plan()),
        ["remove finalizer", "event Aborted", "rest"]
    );
    let mut used = deleted(Scene::settled(json!({})));
    used.consumed(11);
    assert_eq!(said(&used.plan()), ["remove finalizer", "rest"]);
    let mut unknown = deleted(Scene::new(json!({})));
    unknown.add_finalizer();
    assert_eq!(said(&unknown.plan()), ["remove finalizer", "rest"]);
    // Others' finalizers hold it: nothing more to do, and nothing is registered.
    let mut held = deleted(Scene::new(json!({})));
    held.resource.metadata.finalizers = Some(vec!["example.org/other".to_owned()]);
    assert_eq!(said(&held.plan()), ["rest"]);
    // Somebody has taken ours away: it is deleted all the same.
    let mut stripped = deleted(Scene::settled(json!({})));
    stripped.resource.metadata.finalizers = Some(vec!["example.org/other".to_owned()]);
    assert_eq!(said(&stripped.plan()), [abort.as_str(), "plan again"]);
}
