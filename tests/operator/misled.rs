//! What misleads whoever asks whether a data folder was set back: a status that somebody edited, and a second process on a copy.

use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::copies::copy_folder;
use crate::place::Place;
use crate::program::Machine;
use crate::set_back::is_refused;
use crate::standalone::{Standalone, create};

/// The operator did not start, and the JoinToken that it named could not go without it.
#[tokio::test]
async fn a_status_that_was_edited_is_got_rid_of_as_the_error_says() {
    let place = Place::new("edited-status").await;
    let server = place.start();
    let token = place.issue("right", json!({})).await;
    for name in ["edited", "edited-2"] {
        place.issue(name, json!({})).await;
    }
    assert!(server.terminate().0.success());
    let edit = Patch::Merge(json!({ "status": { "storeIndex": 1_000_000 } }));
    let params = PatchParams::default();
    let resources = place.resources();
    for name in ["edited", "edited-2"] {
        let patched = resources.patch_status(name, &params, &edit).await;
        patched.unwrap();
    }
    // All of them at once.
    let says = [
        "was set back",
        "JoinToken",
        "/edited tells",
        "/edited-2 tells",
        "delete the JoinTokens",
        "--wait=false",
    ];
    place.setup().run().fails(1, &says);

    for name in ["edited", "edited-2"] {
        let deleted = resources.delete(name, &DeleteParams::default()).await;
        deleted.unwrap();
    }
    let server = place.start();
    place.wait_for_phase("right", "Issued").await;
    Machine::new().join(&token).ok();
    place.wait_for_phase("right", "Consumed").await;
    let left = resources.list_metadata(&ListParams::default()).await;
    assert_eq!(left.unwrap().items.len(), 1);
    assert!(server.terminate().0.success());
    place.remove().await;
}

/// Both admitted by the same tokens, and neither said a word.
#[test]
fn of_two_processes_on_copies_of_a_folder_the_one_that_was_outrun_ends() {
    let (place, other) = (Standalone::new(), Standalone::new());
    let more = format!("keysDir: {}\n", place.path("keys").display());
    let first = place.setup_with(&more).start();
    let key = place.export("edge-*", "1h");
    Machine::new().join(&create(&key, "edge-1")).ok();
    copy_folder(&place.data(), &other.data());
    let second = other.setup_with(&more).start();

    Machine::new().join(&create(&key, "edge-2")).ok();
    let ended = first.end();
    let says = [
        "another process goes on with a copy of this data folder",
        "stop both",
        "the folder that has the admissions that count",
        "`jointoken store recover`",
        "delete the other",
    ];
    ended.fails(1, &says);
    // Started again it says the same.
    let says = [
        "was set back to an older copy",
        "If a copy of it was started elsewhere: stop that, too",
        "has the admissions that count",
        "`jointoken store recover`",
        "delete the other",
    ];
    is_refused(&place.setup_with(&more), &place.data(), &says);
    assert!(second.terminate().0.success());
}
