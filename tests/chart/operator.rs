//! What the operator has to do, done with the chart's rights and no others; and what these do not reach.

use std::time::{Duration, Instant};

use jointoken::api::JoinToken;
use jointoken::controller::{FoundingConfigMap, SecretVault};
use jointoken::founding::{Creation, Founding, FoundingObject, Item, ItemName, Vault};
use jointoken::token::StoreId;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::DOMAIN;
use super::cluster::{Ground, said, variable};
use super::render::chart;

#[tokio::test]
async fn the_rights_are_enough_for_the_operator_and_no_more() {
    let ground = Ground::new("rights").await;
    let other = Ground::new("rights-other").await;
    let release = format!("jointoken-{}", ground.namespace);
    let watched = format!("watchNamespaces={{{}}}", ground.namespace);
    let class = format!("className={}", ground.namespace);
    for values in [
        vec![DOMAIN, class.as_str()],
        vec![DOMAIN, class.as_str(), watched.as_str()],
    ] {
        let narrow = values.len() > 2;
        let rights: Vec<Value> = chart(&release, &ground.namespace, &values)
            .into_iter()
            .filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1")
            .collect();
        let rights = json!({"apiVersion": "v1", "kind": "List", "items": rights}).to_string();
        let applied = ground.kubectl(&["apply", "-f", "-"], &rights);
        assert!(applied.status.success(), "{}", said(&applied));

        let account = format!("system:serviceaccount:{}:{release}", ground.namespace);
        let operator = client_as(&account).await;
        until_may_read(&operator, &ground.namespace, true).await;
        work(&operator, &ground).await;
        size_of_group(&operator, &ground.namespace, &release).await;
        refusals(&operator, &ground.namespace).await;
        let elsewhere: Api<Secret> = Api::namespaced(operator.clone(), &other.namespace);
        match elsewhere.get_opt("nothing").await {
            Ok(None) => assert!(!narrow, "a Secret of a namespace that is not watched"),
            answer => assert!(narrow && is_forbidden(&answer), "{answer:?}"),
        }

        let removed = ground.kubectl(&["delete", "-f", "-"], &rights);
        assert!(removed.status.success(), "{}", said(&removed));
        until_may_read(&operator, &ground.namespace, false).await;
    }
    ground.remove().await;
    other.remove().await;
}

/// The API server learns of changed rights a moment after they are stored; there are two bindings.
async fn until_may_read(operator: &Client, namespace: &str, may: bool) {
    let tokens: Api<JoinToken> = Api::namespaced(operator.clone(), namespace);
    let founding: Api<ConfigMap> = Api::namespaced(operator.clone(), namespace);
    // Granted by the rights on what is watched alone.
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), namespace);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let tokens = !is_forbidden(&tokens.get_opt("nothing").await);
        let founding = !is_forbidden(&founding.get_opt("nothing").await);
        let secrets = secrets.delete("nothing", &DeleteParams::default()).await;
        let secrets = !is_forbidden(&secrets.map(|_| ()));
        if tokens == may && founding == may && secrets == may {
            return;
        }
        assert!(Instant::now() < deadline, "the rights have not changed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Everything that the operator does to Kubernetes in the life of a token.
async fn work(operator: &Client, ground: &Ground) {
    let namespace = ground.namespace.as_str();
    let create = PostParams::default();
    let patch = PatchParams::default();

    // Founding. What is made then is never written again, not even by the operator.
    let founding = FoundingConfigMap::new(operator.clone(), namespace, "store");
    let ours = Founding {
        store_id: StoreId([7; 16]),
        epoch: 1,
    };
    assert_eq!(founding.create(ours).await.unwrap(), Creation::Created);
    assert_eq!(founding.load().await.unwrap(), Some(ours));
    let founding: Api<ConfigMap> = Api::namespaced(operator.clone(), namespace);
    let object = founding.get("store-founding").await.unwrap();
    let replaced = founding.replace("store-founding", &create, &object).await;
    assert!(is_forbidden(&replaced));
    let vault = SecretVault::new(operator.clone(), namespace, "store");
    let item = Item {
        store_id: ours.store_id,
        epoch: 1,
        parts: [("key".to_owned(), Zeroizing::new(b"1".to_vec()))].into(),
    };
    let key = ItemName::ResourceKey;
    assert_eq!(vault.create(key, &item).await.unwrap(), Creation::Created);
    assert_eq!(vault.load(key).await.unwrap(), Some(item));
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), namespace);
    let key = secrets.get("store-resource-key").await.unwrap();
    let replaced = secrets.replace("store-resource-key", &create, &key).await;
    assert!(is_forbidden(&replaced));

    // A token's life.
    let asked: Api<JoinToken> = Api::namespaced(ground.client.clone(), namespace);
    let object = of(json!({"metadata": {"name": "edge-1"}, "spec": {}}));
    asked.create(&create, &object).await.unwrap();

    let tokens: Api<JoinToken> = Api::namespaced(operator.clone(), namespace);
    let seen = tokens.list(&ListParams::default()).await.unwrap();
    assert_eq!(seen.items.len(), 1);
    drop(tokens.watch(&WatchParams::default(), "0").await.unwrap());
    let namespaces: Api<Namespace> = Api::all(operator.clone());
    assert!(namespaces.get(namespace).await.unwrap().uid().is_some());

    let held = json!({"metadata": {"finalizers": ["jointoken.io/live"]}});
    tokens
        .patch("edge-1", &patch, &Patch::Merge(&held))
        .await
        .unwrap();
    let status = json!({"status": {"phase": "Issued"}});
    let token = tokens
        .patch_status("edge-1", &patch, &Patch::Merge(&status))
        .await
        .unwrap();
    let owner = token.controller_owner_ref(&()).unwrap();
    let mut secret: Secret =
        of(json!({"metadata": {"name": "edge-1-join-token"}, "immutable": true}));
    secret.metadata.owner_references = Some(vec![owner]);
    let secret = secrets.create(&create, &secret).await.unwrap();
    assert!(
        secrets
            .get_opt("edge-1-join-token")
            .await
            .unwrap()
            .is_some()
    );
    event(operator, namespace, &token).await;

    let precondition = DeleteParams::default().preconditions(Preconditions {
        uid: secret.uid(),
        resource_version: None,
    });
    secrets
        .delete("edge-1-join-token", &precondition)
        .await
        .unwrap();
    let released = json!({"metadata": {"finalizers": null}});
    tokens
        .patch("edge-1", &patch, &Patch::Merge(&released))
        .await
        .unwrap();

    let gone = DeleteParams::default();
    asked.delete("edge-1", &gone).await.unwrap();
    let leftovers: Api<Secret> = Api::namespaced(ground.client.clone(), namespace);
    leftovers.delete("store-resource-key", &gone).await.unwrap();
    let leftovers: Api<ConfigMap> = Api::namespaced(ground.client.clone(), namespace);
    leftovers.delete("store-founding", &gone).await.unwrap();
}

/// Its own StatefulSet is all that it sees of the group's size, and it changes nothing.
async fn size_of_group(operator: &Client, namespace: &str, own: &str) {
    let sets: Api<StatefulSet> = Api::namespaced(operator.clone(), namespace);
    assert_eq!(sets.get_opt(own).await.unwrap(), None);
    let fields = format!("metadata.name={own}");
    let seen = sets.list(&ListParams::default().fields(&fields)).await;
    assert_eq!(seen.unwrap().items, []);
    let watch = WatchParams::default().fields(&fields);
    drop(sets.watch(&watch, "0").await.unwrap());
    assert!(is_forbidden(&sets.get_opt("another").await));
    assert!(is_forbidden(&sets.list(&ListParams::default()).await));
    let more = Patch::Merge(json!({"spec": {"replicas": 9}}));
    let patch = PatchParams::default();
    assert!(is_forbidden(&sets.patch(own, &patch, &more).await));
    assert!(is_forbidden(&sets.patch_scale(own, &patch, &more).await));
}

async fn event(operator: &Client, namespace: &str, about: &JoinToken) {
    let events: Api<Event> = Api::namespaced(operator.clone(), namespace);
    let event = of(json!({
        "metadata": {"generateName": "edge-1-"},
        "regarding": about.object_ref(&()),
        "eventTime": "2031-02-03T04:05:06.000000Z",
        "action": "Issue", "reason": "Issued", "type": "Normal", "note": "a token was issued",
        "reportingController": "jointoken.io/operator", "reportingInstance": "jointoken-0",
    }));
    let event = events.create(&PostParams::default(), &event).await.unwrap();
    let series = json!({"series": {"count": 2, "lastObservedTime": "2031-02-03T04:05:07.000000Z"}});
    let patch = Patch::Merge(&series);
    let counted = events
        .patch(&event.name_any(), &PatchParams::default(), &patch)
        .await;
    counted.unwrap();
}

/// What whoever has stolen the operator's credentials cannot do with them.
async fn refusals(operator: &Client, namespace: &str) {
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), namespace);
    assert!(is_forbidden(&secrets.list(&ListParams::default()).await));
    let watch = WatchParams::default();
    assert!(is_forbidden(&secrets.watch(&watch, "0").await.map(|_| ())));
    let everywhere: Api<Secret> = Api::all(operator.clone());
    assert!(is_forbidden(&everywhere.list(&ListParams::default()).await));
    let pods: Api<Pod> = Api::namespaced(operator.clone(), namespace);
    assert!(is_forbidden(&pods.list(&ListParams::default()).await));
    let tokens: Api<JoinToken> = Api::namespaced(operator.clone(), namespace);
    let token = of(json!({"metadata": {"name": "mine"}, "spec": {}}));
    assert!(is_forbidden(
        &tokens.create(&PostParams::default(), &token).await
    ));
    let deleted = tokens.delete("mine", &DeleteParams::default()).await;
    assert!(is_forbidden(&deleted.map(|_| ())));
    let namespaces: Api<Namespace> = Api::all(operator.clone());
    assert!(is_forbidden(&namespaces.list(&ListParams::default()).await));
}

fn is_forbidden<T>(answer: &kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 403)
}

fn of<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object of that kind")
}

/// A client that acts as `user` would.
async fn client_as(user: &str) -> Client {
    let path = variable("JOINTOKEN_TEST_KUBECONFIG");
    let kubeconfig = Kubeconfig::read_from(path).expect("reading the cluster's kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a usable kubeconfig");
    config.auth_info.impersonate = Some(user.to_owned());
    Client::try_from(config).expect("a client")
}
