//! A backup that is restored to try it, in another namespace of the cluster in which the store lives on.

use std::collections::BTreeMap;

use jointoken::api::JoinToken;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ListParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::place::Place;
use crate::program::{Machine, text};
use crate::restored_cluster::{restore_into, save};
use crate::server::Server;
use crate::two_stores::beside;

/// What is put into the other namespace beside the snapshot.
#[derive(Debug, Clone, Copy)]
pub enum With {
    Keys,
    KeysAndMark,
}

fn anew(of: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: of.name.clone(),
        annotations: of.annotations.clone(),
        ..ObjectMeta::default()
    }
}

impl With {
    pub async fn put(self, from: &Place, to: &Place) {
        let params = PostParams::default();
        for secret in from.keys().list(&ListParams::default()).await.unwrap() {
            let metadata = anew(&secret.metadata);
            let secret = Secret { metadata, ..secret };
            to.keys().create(&params, &secret).await.unwrap();
        }
        if let Self::KeysAndMark = self {
            let marks = |place: &Place| -> Api<ConfigMap> {
                Api::namespaced(place.system.client.clone(), &place.system.namespace)
            };
            let mark = marks(from).get("jointoken-founding").await.unwrap();
            let metadata = anew(&mark.metadata);
            let mark = ConfigMap { metadata, ..mark };
            marks(to).create(&params, &mark).await.unwrap();
        }
    }
}

/// The JoinTokens and their Secrets, to the version.
async fn all_of(place: &Place) -> BTreeMap<String, (JoinToken, Option<Secret>)> {
    let mut all = BTreeMap::new();
    for token in place
        .resources()
        .list(&ListParams::default())
        .await
        .unwrap()
    {
        let secret = place.secret(&token.name_any()).await;
        all.insert(token.name_any(), (token, secret));
    }
    all
}

fn left_alone(server: &Server) -> Option<usize> {
    let (_, metrics) = server.get("/metrics")?;
    let name = "jointoken_controller_foreign_resources ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    count?.parse().ok()
}

async fn is_tried_beside_it(with: With) {
    let (living, drill) = (Place::new("living").await, Place::new("drill").await);
    let operator = living.start();
    let used = living.issue("used", json!({})).await;
    Machine::new().join(&used).ok();
    let live = living.issue("live", json!({})).await;
    let unused = living.issue("unused", json!({})).await;
    let file = living.path("a.snapshot");
    save(&living.data(), &file);
    let since = living.issue("since", json!({})).await;
    for name in ["live", "unused", "since"] {
        living.wait_for(name, "Usable", "True", "Issued").await;
    }
    living
        .wait_for("used", "Succeeded", "True", "Consumed")
        .await;
    let status = living.resources().get("live").await.unwrap().status;
    let store = status.unwrap().store_id.expect("a store's id");
    let before = all_of(&living).await;
    assert_eq!(before.len(), 4);

    with.put(&living, &drill).await;
    let what = ["store", "snapshot", "restore", text(&file), "--yes"];
    let served = ["--namespace", &living.tokens.namespace];
    let ran = restore_into(&drill.data(), &drill, &what, &served).ok();
    let step = format!("once with --take-over {store}");
    assert!(ran.stdout.contains(&step), "{}", ran.stdout);
    let restored = beside(&living, &drill, &[]).start();
    for name in before.keys() {
        let events = living.wait_for_events(name, &["OfAnotherStore"]).await;
        let told = events.iter().filter_map(|event| event.note.as_deref());
        let told = told.filter(|note| note.contains(&step)).count();
        assert_eq!(told, 1, "{events:#?}");
    }
    restored.wait_for_log(&step);
    assert_eq!(left_alone(&restored), Some(4));
    assert_eq!(all_of(&living).await, before, "{with:?}: it was touched");
    for (name, token) in [("live", &live), ("since", &since)] {
        Machine::new().join(token).ok();
        living.wait_for_phase(name, "Consumed").await;
    }
    assert!(restored.terminate().0.success());

    // The store that was in use is lost, and the step that is named is enough.
    operator.kill();
    let restored = beside(&living, &drill, &["--take-over", &store]).start();
    for name in ["live", "unused", "since"] {
        living.wait_for(name, "Ready", "False", "Restored").await;
    }
    living
        .wait_for("used", "Succeeded", "True", "Consumed")
        .await;
    assert_eq!(left_alone(&restored), Some(0));
    living.patch("unused", json!({"revision": 2})).await;
    living.wait_for_phase("unused", "Issued").await;
    Machine::new().join(&living.token("unused").await).ok();
    let door = format!("https://127.0.0.1:{}", drill.door_port);
    for token in [&used, &live, &unused, &since] {
        let joined = Machine::new().join_with(token, &["--url", &door]);
        joined.fails(3, &["not valid here"]);
    }
    assert!(restored.terminate().0.success());
    living.remove().await;
    drill.remove().await;
}

#[tokio::test]
async fn a_restore_that_is_tried_beside_the_store_in_use_touches_nothing_of_it() {
    is_tried_beside_it(With::Keys).await;
}

#[tokio::test]
async fn no_more_does_one_for_which_the_founding_object_was_copied_as_well() {
    is_tried_beside_it(With::KeysAndMark).await;
}
