//! Keys, CAs and the mark of the founding that vanish or are exchanged afterwards: at the start and while serving.
//! Nothing is made in their place, and nothing is minted or signed until they are back.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::said;
use crate::place::Place;
use crate::program::{Machine, text};
use crate::server::{Server, wait_until};
use crate::standalone::{Standalone, create};

const ITEMS: [&str; 5] = [
    "door-ca",
    "members-ca",
    "offline-master",
    "peers-ca",
    "resource-key",
];

/// A copy of a folder of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn in_order(server: &Server) -> bool {
    let (_, metrics) = server.get("/metrics").expect("metrics");
    let line = metrics
        .lines()
        .find(|line| line.starts_with("jointoken_keys_in_order "));
    line.expect("the gauge").ends_with(" 1")
}

#[track_caller]
fn wait_until_amiss(server: &Server, says: &[&str]) {
    server.wait_for_log("minting and signing have stopped until this is put right");
    let log = server.log();
    let line = log
        .lines()
        .rfind(|line| line.contains("minting and signing have stopped"))
        .unwrap();
    for said in says {
        assert!(line.contains(said), "{said:?} is missing: {line}");
    }
    assert!(wait_until(|| !in_order(server)), "the gauge says otherwise");
}

#[test]
fn a_key_folder_that_vanished_is_named_at_the_start_and_not_made_anew() {
    let (place, other) = (Standalone::new(), Standalone::new());
    for place in [&place, &other] {
        assert!(place.setup().start().terminate().0.success());
    }
    for name in ITEMS {
        let (there, aside) = (place.data().join("keys").join(name), place.path("aside"));
        fs::rename(&there, &aside).unwrap();
        let ran = place.setup().run();
        ran.fails(
            1,
            &[
                &format!("the {name} is missing"),
                text(&there),
                "not made anew",
                "back from the backup of the keys",
            ],
        );
        assert!(!there.exists());

        copy(&other.data().join("keys").join(name), &there);
        place.setup().run().fails(1, &["KeyOfOtherStore", name]);
        // Even with this store's name on it.
        fs::copy(aside.join("store"), there.join("store")).unwrap();
        let ran = place.setup().run();
        ran.fails(1, &[name, "is not the one that the store was founded with"]);
        fs::remove_dir_all(&there).unwrap();
        fs::rename(&aside, &there).unwrap();
    }
    assert!(place.setup().start().terminate().0.success());
}

#[test]
fn a_key_folder_that_vanishes_while_serving_stops_what_it_signs() {
    let place = Standalone::new();
    let server = place.setup().start();
    let token = create(&place.export("edge-*", "1h"), "edge-7");
    let (there, aside) = (place.data().join("keys/members-ca"), place.path("aside"));
    assert!(in_order(&server));
    fs::rename(&there, &aside).unwrap();
    wait_until_amiss(&server, &["the members-ca is missing", text(&there)]);

    let machine = Machine::new();
    machine
        .join_with(&token, &["--timeout", "2s"])
        .fails(7, &["run the same command again"]);
    assert!(!machine.out().join("tls.crt").exists());
    let more: PathBuf = place.path("more.key");
    place
        .try_export("edge-*", "1h", &more)
        .fails(7, &["a key of the store is missing"]);
    assert!(!there.exists() && !more.exists());

    fs::rename(&aside, &there).unwrap();
    server.wait_for_log("the keys are in order again");
    machine.join(&token).ok();
    assert!(wait_until(|| in_order(&server)));
    assert!(server.terminate().0.success());
}

fn as_new(mut secret: Secret) -> Secret {
    secret.metadata.resource_version = None;
    secret.metadata.uid = None;
    secret.metadata.creation_timestamp = None;
    secret.metadata.managed_fields = None;
    secret
}

async fn remove(keys: &Api<Secret>, name: &str) {
    let deleted = keys.delete(name, &DeleteParams::default()).await;
    deleted.expect("deleting a key");
}

async fn put(keys: &Api<Secret>, secret: Secret) {
    let created = keys.create(&PostParams::default(), &secret).await;
    created.expect("putting a key back");
}

#[tokio::test]
async fn a_key_secret_that_vanished_or_is_anothers_is_named_at_the_start_and_not_made_anew() {
    let (place, other) = (Place::new("keys").await, Place::new("keys-other").await);
    for place in [&place, &other] {
        assert!(place.start().terminate().0.success());
    }
    let keys = place.keys();
    for item in ITEMS {
        let name = format!("jointoken-{item}");
        let own = as_new(keys.get(&name).await.unwrap());
        remove(&keys, &name).await;
        let secret = format!("Secret {}/{name}", place.system.namespace);
        place
            .setup()
            .run()
            .fails(1, &[&format!("the {item} is missing"), &secret]);
        assert!(keys.get_opt(&name).await.unwrap().is_none(), "made anew");

        let mut foreign = as_new(other.keys().get(&name).await.unwrap());
        foreign.metadata.namespace = None;
        put(&keys, foreign.clone()).await;
        place.setup().run().fails(1, &["KeyOfOtherStore", &secret]);
        remove(&keys, &name).await;
        *foreign.annotations_mut() = own.annotations().clone();
        put(&keys, foreign).await;
        let ran = place.setup().run();
        ran.fails(
            1,
            &[&secret, "is not the one that the store was founded with"],
        );
        remove(&keys, &name).await;
        put(&keys, own).await;
    }
    let marks: Api<ConfigMap> =
        Api::namespaced(place.system.client.clone(), &place.system.namespace);
    let deleted = marks
        .delete("jointoken-founding", &DeleteParams::default())
        .await;
    deleted.unwrap();
    let ran = place.setup().run();
    let line = ran.fails(1, &["jointoken-founding is missing", "create it again"]);
    // What the message says is enough.
    let value = |name: &str| line.split(&format!("{name}: \"")).nth(1).unwrap();
    let value = |name: &str| value(name).split('"').next().unwrap().to_owned();
    let mark = json!({
        "metadata": {"name": "jointoken-founding"},
        "data": {"store-id": value("store-id"), "epoch": value("epoch")},
    });
    let mark: ConfigMap = serde_json::from_value(mark).unwrap();
    marks.create(&PostParams::default(), &mark).await.unwrap();
    let ran = place.setup().run();
    let says = ["is another object", "do not say (`object`)", "kubectl -n"];
    let line = ran.fails(1, &says);
    let told = line.split("--type merge -p ").nth(1).unwrap();
    let told = told.split('\'').nth(1).unwrap();
    let kubectl = |args: &[&str]| {
        let ran = place.system.kubectl(args, "");
        assert!(ran.status.success(), "{}", said(&ran));
    };
    // Only together with where the store has always been.
    let patch: Value = serde_json::from_str(told).unwrap();
    let key = "jointoken.io/volumes-are-current";
    let uid = patch["metadata"]["annotations"][key].as_str().unwrap();
    let annotate = format!("{key}={uid}");
    let object = "configmap/jointoken-founding";
    kubectl(&["annotate", object, &annotate]);
    place.setup().run().fails(1, &says);
    kubectl(&["patch", object, "--type", "merge", "-p", told]);
    assert!(place.start().terminate().0.success());
    place.remove().await;
    other.remove().await;
}

#[tokio::test]
async fn a_key_secret_that_vanishes_under_the_operator_stops_it_until_it_is_back() {
    let place = Place::new("keys-live").await;
    let operator = place.start();
    let token = place.issue("edge-1", json!({})).await;
    let keys = place.keys();
    let name = "jointoken-resource-key";
    let own = as_new(keys.get(name).await.unwrap());
    remove(&keys, name).await;
    wait_until_amiss(&operator, &["the resource-key is missing", name]);

    place.create("edge-2", json!({})).await;
    let message = place
        .wait_for("edge-2", "Ready", "False", "KeyUnavailable")
        .await;
    assert!(
        message.contains("a key of the store is missing"),
        "{message}"
    );
    // Nor is a token rendered again that was there.
    let deleted = place
        .secrets()
        .delete("edge-1-join-token", &DeleteParams::default())
        .await;
    deleted.unwrap();
    place
        .patch("edge-1", json!({"reissuePolicy": "WhenUnused"}))
        .await;
    place
        .wait_for("edge-1", "Ready", "False", "KeyUnavailable")
        .await;
    assert!(place.secret("edge-1").await.is_none());
    assert!(place.secret("edge-2").await.is_none());
    Machine::new()
        .join_with(&token, &["--timeout", "1s"])
        .fails(7, &["run the same command again"]);
    assert!(keys.get_opt(name).await.unwrap().is_none(), "made anew");

    put(&keys, own).await;
    operator.wait_for_log("the keys are in order again");
    place.wait_for_phase("edge-2", "Issued").await;
    Machine::new().join(&place.token("edge-2").await).ok();
    Machine::new().join(&token).ok();
    assert!(operator.terminate().0.success());
    place.remove().await;
}
