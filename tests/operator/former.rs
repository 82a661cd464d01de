//! A store that is lost, and one founded in its place while JoinTokens still tell of it.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

use crate::cluster::variable;
use crate::place::Place;
use crate::program::{Machine, Ran, id_of, run, text};

/// `jointoken store found --replace-lost`, as the cluster's administrator.
fn replace(place: &Place, lost: &str, more: &[&str]) -> Ran {
    let (data, kubeconfig) = (place.data(), variable("JOINTOKEN_TEST_KUBECONFIG"));
    let what = ["store", "found", "--replace-lost", lost];
    let place = [
        "--data-dir",
        text(&data),
        "--trust-domain",
        "prod.example",
        "--system-namespace",
        &place.system.namespace,
        "--namespace",
        &place.tokens.namespace,
        "--kubeconfig",
        &kubeconfig,
    ];
    run(&[&what[..], &place, more].concat())
}

#[tokio::test]
async fn a_store_founded_anew_issues_nothing_again_that_a_former_one_had_issued() {
    let place = Place::new("former").await;
    let operator = place.start();
    let used = place.issue("used", json!({})).await;
    Machine::new().join(&used).ok();
    let consumed = place
        .wait_for_phase("used", "Consumed")
        .await
        .status
        .unwrap();
    let live = place.issue("live", json!({})).await;
    operator.kill();

    // The volume is lost.
    std::fs::remove_dir_all(place.data()).unwrap();
    let mark = format!("ConfigMap {}/jointoken-founding", place.system.namespace);
    let says = [
        &mark,
        "data folder is empty",
        "as it was last",
        "jointoken store snapshot restore",
        "jointoken store found --replace-lost",
    ];
    place.setup().run().fails(1, &says);
    assert!(!place.data().join("identity").exists());

    // For good, so what the message says is done.
    let marks: Api<ConfigMap> =
        Api::namespaced(place.system.client.clone(), &place.system.namespace);
    let marked = marks.get("jointoken-founding").await.unwrap();
    let lost = marked.data.unwrap()["store-id"].clone();
    replace(&place, &lost, &[]).fails(2, &["--yes"]);
    replace(&place, &"7".repeat(32), &["--yes"]).fails(2, &["only the store that it names"]);
    assert!(!place.data().join("identity").exists());
    let said = replace(&place, &lost, &["--yes"]).ok().stdout;
    assert!(said.contains("in epoch 2 takes the place of"), "{said}");
    let operator = place.start();
    operator.wait_for_log("epoch=2");

    let message = place.wait_for("live", "Ready", "False", "Restored").await;
    assert!(message.contains("founded anew"), "{message}");
    let message = place.wait_for("used", "Ready", "False", "Restored").await;
    assert!(message.contains("revision"), "{message}");
    let told = place
        .wait_for_phase("used", "Consumed")
        .await
        .status
        .unwrap();
    assert_eq!(
        (told.token_id, told.joiner),
        (consumed.token_id, consumed.joiner)
    );
    for (name, token) in [("used", &used), ("live", &live)] {
        let waits = place.secret(name).await.is_some_and(|secret| {
            let data = secret.data.unwrap_or_default();
            data["token"].0 != token.as_bytes()
        });
        assert!(!waits, "another token for {name}");
        Machine::new()
            .join(token)
            .fails(6, &["the token was not sent"]);
    }
    // The way out, for whoever wants another machine under that name.
    place.patch("live", json!({"revision": 2})).await;
    place.wait_for_phase("live", "Issued").await;
    let token = place.token("live").await;
    assert_ne!(id_of(&token), id_of(&live));
    Machine::new().join(&token).ok();
    let status = place
        .wait_for_phase("live", "Consumed")
        .await
        .status
        .unwrap();
    assert_eq!(status.store_epoch, Some(2));
    assert!(operator.terminate().0.success());
    place.remove().await;
}
