//! kill -9 at bad moments, and what is left.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use futures::future::join_all;
use jointoken::pki::JoinerKey;
use k8s_openapi::ByteString;
use kube::ResourceExt;
use serde_json::json;

use crate::cluster::Ground;
use crate::place::Place;
use crate::program::{Machine, id_of};
use crate::raw_joiner::RawJoiner;
use crate::standalone::{Standalone, create};

type Data = BTreeMap<String, ByteString>;

#[tokio::test]
async fn an_operator_that_was_killed_goes_on_with_the_same_tokens() {
    let place = Place::new("killed").await;
    let mut operator = place.start();
    let names: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
    join_all(names.iter().map(|name| place.create(name, json!({})))).await;
    // Killed in the midst of it, again and again, each time when a few more have their Secrets.
    let mut seen: BTreeMap<String, (Option<String>, Data)> = BTreeMap::new();
    for reached in [1, 4, 8, 12] {
        while seen.len() < reached {
            for name in &names {
                if let Some(secret) = place.secret(name).await {
                    let now = (secret.uid(), secret.data.unwrap_or_default());
                    let before = seen.entry(name.clone()).or_insert_with(|| now.clone());
                    assert_eq!(before, &now, "{name} has another Secret");
                }
            }
        }
        operator.kill();
        operator = place.start();
    }
    for name in &names {
        place.wait_for_phase(name, "Issued").await;
        let secret = place.secret(name).await.expect("the Secret");
        assert_eq!(Some(&(secret.uid(), secret.data.unwrap())), seen.get(name));
    }
    let token = place.token("n3").await;
    Machine::new().join(&token).ok();
    place.wait_for_phase("n3", "Consumed").await;
    Machine::new().join(&token).fails(5, &["used"]);
    assert!(operator.terminate().0.success());
    place.remove().await;
}

#[tokio::test]
async fn an_answer_that_was_not_acknowledged_is_had_again_after_a_crash() {
    let place = Place::new("redelivery").await;
    let operator = place.start();
    let token = place.issue("edge-1", json!({})).await;
    let key = JoinerKey::generate().unwrap();
    let joiner = RawJoiner::new(&token, key, place.door_port);
    let first = joiner.join().await;
    assert_eq!(first["token_id"], id_of(&token));
    operator.kill();

    let operator = place.start();
    assert_eq!(joiner.join().await, first, "the very same answer");
    // The same machine, by the program: all it has is its key.
    let machine = Machine::new();
    std::fs::create_dir(machine.out()).unwrap();
    std::fs::write(
        machine.out().join("tls.key"),
        joiner.key.to_pem().as_bytes(),
    )
    .unwrap();
    machine.join(&token).ok();
    assert_eq!(
        machine.file("tls.crt"),
        first["certificate"].as_str().unwrap()
    );
    // Acknowledged now, also after another crash.
    operator.kill();
    let operator = place.start();
    let refused = joiner.try_join().await;
    assert_eq!((refused.0, &refused.1["code"]), (410, &json!("token_used")));
    let consumed = place.wait_for_phase("edge-1", "Consumed").await;
    assert_eq!(consumed.status.unwrap().attempts, Some(1));
    drop(operator);
    place.remove().await;
}

#[tokio::test]
async fn machines_that_are_joining_while_the_operator_crashes_are_admitted_once() {
    let place = Place::new("mid-join").await;
    let mut operator = place.start();
    let names: Vec<String> = (0..6).map(|n| format!("n{n}")).collect();
    join_all(names.iter().map(|name| place.create(name, json!({})))).await;
    let mut joining = Vec::new();
    for name in &names {
        place.wait_for_phase(name, "Issued").await;
        // Two machines for each token: one of them is to get in.
        let token = place.token(name).await;
        for _ in 0..2 {
            let machine = Machine::new();
            let child = machine
                .join_command(&token, &[])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            joining.push((name, machine, child));
        }
        operator.kill();
        operator = place.start();
    }
    let mut admitted: BTreeMap<&String, String> = BTreeMap::new();
    for (name, machine, mut child) in joining {
        let code = child.wait().unwrap().code();
        if code == Some(0) {
            let certificate = machine.file("tls.crt");
            assert_eq!(
                admitted.insert(name, certificate),
                None,
                "{name} admitted two"
            );
        } else {
            assert_eq!(code, Some(5), "{name}");
        }
    }
    assert_eq!(admitted.len(), names.len());
    for name in &names {
        place.wait_for_phase(name, "Consumed").await;
    }
    drop(operator);
    place.remove().await;
}

/// The Secrets of the operator's own are as they were founded, whatever else is killed.
#[tokio::test]
async fn a_founding_that_was_killed_is_ended_by_the_next_start() {
    let place = Place::new("founding").await;
    // Killed as early as possible, then a little later each time.
    for objects in 0..6 {
        let server = place.setup().spawn();
        while count(&place.system).await < objects {}
        server.kill();
    }
    let operator = place.start();
    let token = place.issue("edge-1", json!({})).await;
    Machine::new().join(&token).ok();
    assert_eq!(count(&place.system).await, 6);
    drop(operator);
    place.remove().await;
}

/// How many objects the operator has made for itself.
async fn count(system: &Ground) -> usize {
    let listed = system.kubectl(&["get", "secrets,configmaps", "-o", "name"], "");
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed
        .lines()
        .filter(|name| name.contains("/jointoken-"))
        .count()
}

/// Killed the moment that a step of the founding shows on disk.
#[test]
fn a_founding_in_a_folder_that_was_killed_is_ended_by_the_next_start() {
    for step in [
        "founding.lock",
        "identity",
        "keys/door-ca",
        "keys/offline-master",
        "keys/resource-key",
        "store",
        "store/identity",
        "store/log",
        "admin.sock",
    ] {
        let place = Standalone::new();
        let path = place.data().join(step);
        let server = place.setup().spawn();
        while !path.exists() {}
        server.kill();
        let keys = place.data().join("keys");
        let made = |name: &str| fs::read(keys.join(name).join("store")).ok();
        let before = ["door-ca", "members-ca", "offline-master", "peers-ca"].map(made);

        let server = place.setup().start();
        for (name, before) in ["door-ca", "members-ca", "offline-master", "peers-ca"]
            .iter()
            .zip(before)
        {
            assert!(before.is_none() || made(name) == before, "{step}: {name}");
        }
        let token = create(&place.export("edge-*", "1h"), "edge-7");
        Machine::new().join(&token).ok();
        assert!(server.terminate().0.success());
        assert!(place.setup().start().terminate().0.success());
    }
}
