//! A store in Kubernetes that is lost, and restored from a snapshot, or recovered from what is left of its volume.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::variable;
use crate::place::Place;
use crate::program::{Machine, Ran, run, text};

/// A command that makes a new store of a former one in a data folder, as the cluster's administrator.
pub fn restore_into(data: &Path, place: &Place, what: &[&str], more: &[&str]) -> Ran {
    let kubeconfig = variable("JOINTOKEN_TEST_KUBECONFIG");
    let where_to = [
        "--data-dir",
        text(data),
        "--system-namespace",
        &place.system.namespace,
        "--namespace",
        &place.tokens.namespace,
        "--kubeconfig",
        &kubeconfig,
    ];
    run(&[what, &where_to, more].concat())
}

fn restore(place: &Place, what: &[&str], more: &[&str]) -> Ran {
    restore_into(&place.data(), place, what, more)
}

pub fn json_of(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok().stdout).expect("JSON")
}

/// Saves a snapshot of the replica with this data folder.
pub fn save(data: &Path, file: &Path) {
    let socket = data.join("admin.sock");
    let from = ["store", "snapshot", "save", "--admin-socket", text(&socket)];
    run(&[&from[..], &["--out", text(file)]].concat()).ok();
}

#[tokio::test]
async fn a_lost_store_is_restored_and_nothing_that_was_issued_since_is_issued_again() {
    let place = Place::new("restored").await;
    let operator = place.start();
    let used = place.issue("used", json!({})).await;
    let machine = Machine::new();
    machine.join(&used).ok();
    place.wait_for_phase("used", "Consumed").await;
    let live = place.issue("live", json!({})).await;
    let file = place.path("a.snapshot");
    save(&place.data(), &file);
    // What the snapshot does not know: the one that was live has been used, and there is one more.
    Machine::new().join(&live).ok();
    place.wait_for_phase("live", "Consumed").await;
    let since = place.issue("since", json!({})).await;
    Machine::new().join(&since).ok();
    let since_status = place.wait_for_phase("since", "Consumed").await.status;
    operator.kill();
    fs::remove_dir_all(place.data()).unwrap();

    let what = ["store", "snapshot", "restore", text(&file)];
    restore(&place, &what, &[]).fails(2, &["--yes"]);
    let keys = ["--keys-dir", "/nowhere"];
    let ran = restore(&place, &what, &keys);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(!place.data().exists());
    let restored = json_of(restore(&place, &what, &["--yes", "--output", "json"]));
    assert_eq!(restored["epoch"], 2);

    let operator = place.start();
    for name in ["live", "since"] {
        let message = place.wait_for(name, "Ready", "False", "Restored").await;
        assert!(message.contains("spec.revision to 2"), "{message}");
    }
    for token in [&used, &live, &since] {
        Machine::new().join(token).fails(3, &["not valid here"]);
    }
    place
        .wait_for("used", "Succeeded", "True", "Consumed")
        .await;
    // Who was admitted stays told.
    let told = place.resources().get("since").await.unwrap().status;
    let joiner = |status: &Option<jointoken::api::JoinTokenStatus>| {
        status.as_ref().and_then(|status| status.joiner.clone())
    };
    assert_eq!(joiner(&told), joiner(&since_status));
    // To create it again does not help.
    place.delete("since").await;
    place.create("since", json!({})).await;
    place.wait_for("since", "Ready", "False", "Restored").await;
    assert!(place.secret("since").await.is_none());
    // The way out; and machines go on trusting each other.
    place.patch("since", json!({"revision": 2})).await;
    place.wait_for_phase("since", "Issued").await;
    let fresh = Machine::new();
    fresh.join(&place.token("since").await).ok();
    assert_eq!(fresh.file("ca.crt"), machine.file("ca.crt"));
    assert!(operator.terminate().0.success());
    place.remove().await;
}

#[tokio::test]
async fn what_is_left_of_a_volume_is_recovered_in_it() {
    let place = Place::new("recovered").await;
    let operator = place.start();
    let used = place.issue("used", json!({})).await;
    Machine::new().join(&used).ok();
    place.wait_for_phase("used", "Consumed").await;
    let live = place.issue("live", json!({})).await;
    operator.kill();
    let survivor = place.data().join("removed-lost");
    fs::create_dir(&survivor).unwrap();
    for name in ["store", "identity"] {
        fs::rename(place.data().join(name), survivor.join(name)).unwrap();
    }
    let what = ["store", "recover", text(&survivor)];
    restore(&place, &what, &["--yes", "--reset-clock"]).fails(2, &["leave out --reset-clock"]);
    let recovered = json_of(restore(&place, &what, &["--yes", "--output", "json"]));
    assert_eq!(
        (&recovered["epoch"], &recovered["endedTokens"]),
        (&json!(2), &json!(1))
    );
    let operator = place.start();
    place.wait_for("live", "Ready", "False", "Restored").await;
    place
        .wait_for("used", "Succeeded", "True", "Consumed")
        .await;
    Machine::new().join(&live).fails(3, &["not valid here"]);
    let fresh = place.issue("fresh", json!({})).await;
    Machine::new().join(&fresh).ok();
    assert!(operator.terminate().0.success());
    place.remove().await;
}
