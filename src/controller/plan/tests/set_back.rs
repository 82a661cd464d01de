//! Which statuses of this very store tell of more than it knows.

use super::super::super::former;
use super::super::super::set_back::is_ahead;
use super::*;

const OTHER: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
/// How far the log has come: far beyond everything here, as one that was set back is soon.
const REACHED: u64 = 1_000;

/// The token in force was changed last at 10; the record of the other token, if it is known, at this index.
fn ahead(scene: &Scene, status: Value, other: Option<u64>) -> bool {
    let mut resource = scene.resource.clone();
    resource.status = serde_json::from_value(status).unwrap();
    let of = (scene.epoch, REACHED);
    is_ahead(&resource, &scene.standing(), of, |token_id| {
        assert_ne!(*token_id, ID);
        other
    })
}

fn told(token: &str, index: u64, revision: u64, reissues: u64) -> Value {
    json!({
        "phase": "Issued", "tokenId": token, "revision": revision, "reissues": reissues,
        "storeEpoch": 1, "storeIndex": index,
    })
}

#[test]
fn the_record_of_the_token_is_what_counts() {
    let scene = Scene::issued(json!({"revision": 2}));
    assert!(!ahead(&scene, json!(null), None));
    assert!(!ahead(&scene, told(ID_TEXT, 10, 2, 0), None));
    assert!(!ahead(&scene, told(ID_TEXT, 9, 2, 0), None));
    assert!(ahead(&scene, told(ID_TEXT, 11, 2, 0), None));
    let later_epoch = json!({ "tokenId": ID_TEXT, "storeEpoch": 2, "storeIndex": 1 });
    assert!(ahead(&scene, later_epoch, None));
    // Forgotten, its end is still known by the name.
    let mut forgotten = Scene::issued(json!({"revision": 2}));
    forgotten.consumed(10);
    forgotten.record = None;
    assert!(!ahead(&forgotten, told(ID_TEXT, 10, 2, 0), None));
    assert!(ahead(&forgotten, told(ID_TEXT, 11, 2, 0), None));
}

#[test]
fn another_token_than_the_one_in_force_was_there_before_it() {
    let scene = Scene::issued(json!({"revision": 2}));
    // Its record is known, or was forgotten since.
    assert!(!ahead(&scene, told(OTHER, 8, 1, 0), Some(9)));
    assert!(ahead(&scene, told(OTHER, 8, 1, 0), Some(7)));
    assert!(!ahead(&scene, told(OTHER, 8, 1, 3), None));
    assert!(ahead(&scene, told(OTHER, 11, 1, 0), None));
    // Of the same revision or a later one the store cannot have forgotten it.
    for (revision, reissues) in [(2, 0), (2, 1), (3, 0)] {
        assert!(ahead(&scene, told(OTHER, 8, revision, reissues), None));
    }
    assert!(ahead(&scene, told("nonsense", 8, 1, 0), None));
    assert!(ahead(
        &scene,
        json!({ "storeEpoch": 1, "storeIndex": 11 }),
        None
    ));
}

#[test]
fn what_was_imported_is_known_by_its_import() {
    let mut scene = Scene::issued(json!({}));
    scene.resource.status = serde_json::from_value(told(OTHER, 8, 1, 0)).unwrap();
    let import = {
        let mut view = scene.view();
        view.status_ahead = true;
        former::import(&view, &Told::of(&view).unwrap())
    };
    scene.entry.as_mut().unwrap().token_id = import.token_id;
    scene.record().token_id = import.token_id;
    assert!(!ahead(&scene, told(OTHER, 10, 1, 0), None));
    assert!(ahead(&scene, told(OTHER, 11, 1, 0), None));
}

/// The name is forgotten some time after the token has ended, if that is configured.
#[test]
fn of_a_name_that_the_store_does_not_know_only_a_live_token_is_a_loss() {
    let scene = Scene::new(json!({}));
    let mut status = told(ID_TEXT, 10, 1, 0);
    let ahead = |status: &Value| {
        let mut resource = scene.resource.clone();
        resource.status = serde_json::from_value(status.clone()).unwrap();
        is_ahead(&resource, &scene.standing(), (1, REACHED), |_| None)
    };
    assert!(ahead(&status));
    status["phase"] = json!("Consumed");
    assert!(!ahead(&status));
    status["storeIndex"] = json!(REACHED + 1);
    assert!(ahead(&status));
    // A place without a token: somebody took that out, unless it waits to be registered.
    assert!(ahead(
        &json!({ "phase": "Issued", "storeEpoch": 1, "storeIndex": 10 })
    ));
    assert!(!ahead(
        &json!({ "phase": "Pending", "storeEpoch": 1, "storeIndex": 10 })
    ));
}
