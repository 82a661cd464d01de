//! What the operator may touch: what `deploy/` permits, in the namespaces that it is told to watch.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::ground::{Ground, admin};

const RBAC: &str = include_str!("../../deploy/rbac.yaml");

/// The first document of this kind.
fn document<T: DeserializeOwned>(kind: &str) -> T {
    let line = format!("kind: {kind}");
    let text = RBAC
        .split("\n---")
        .find(|document| document.lines().any(|other| other == line))
        .unwrap_or_else(|| panic!("no {kind} in deploy/rbac.yaml"));
    serde_saphyr::from_str(text).unwrap()
}

#[tokio::test]
async fn a_whole_life_needs_no_more_than_deploy_grants() {
    let ground = Ground::new("rbac").await;
    // The cluster role as it is, under a name of this test's own, for a service account that nothing else binds.
    let unique = ground.namespace.clone();
    let mut role: ClusterRole = document("ClusterRole");
    role.metadata.name = Some(unique.clone());
    let mut binding: ClusterRoleBinding = document("ClusterRoleBinding");
    assert_eq!(binding.role_ref.name, "jointoken");
    binding.metadata.name = Some(unique.clone());
    binding.role_ref.name = unique.clone();
    for subject in binding.subjects.iter_mut().flatten() {
        subject.namespace = Some(unique.clone());
    }
    let account = format!("system:serviceaccount:{unique}:jointoken");
    let roles: Api<ClusterRole> = Api::all(ground.client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(ground.client.clone());
    roles.create(&PostParams::default(), &role).await.unwrap();
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();

    let mut config = admin().await;
    config.auth_info.impersonate = Some(account);
    let client = Client::try_from(config).unwrap();
    // The authorizer sees a new binding a little later than the API server has it.
    let resources: Api<jointoken::api::JoinToken> = Api::namespaced(client.clone(), &unique);
    while resources.list(&ListParams::default()).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &unique);
    let listed = secrets.list(&ListParams::default()).await;
    assert!(matches!(listed, Err(kube::Error::Api(status)) if status.is_forbidden()));

    let operator = ground.operator_with(client, |effects| effects);
    let used = ground.create("used", json!({})).await;
    let unused = ground.create("unused", json!({})).await;
    ground.wait_for_phase("used", "Issued").await;
    ground.wait_for_phase("unused", "Issued").await;
    ground.admit("used", 5).await;
    ground.wait_secret_gone("used-join-token").await;
    ground
        .wait("used", "without finalizer", |resource, _| {
            resource.finalizers().is_empty()
        })
        .await;
    ground.event_reasons("used", 2).await;
    for resource in [&used, &unused] {
        ground.delete(&resource.name_any()).await;
        ground.wait_gone(resource).await;
    }
    let text = operator.metrics.encode().unwrap();
    assert!(
        !text.contains("jointoken_controller_errors_total{"),
        "{text}"
    );
    operator.stop().await;
    bindings
        .delete(&unique, &DeleteParams::default())
        .await
        .unwrap();
    roles
        .delete(&unique, &DeleteParams::default())
        .await
        .unwrap();
    ground.remove().await;
}

#[tokio::test]
async fn only_the_namespaces_that_are_named_are_watched() {
    let mut here = Ground::new("watched-a").await;
    let also = Ground::new("watched-b").await;
    let elsewhere = Ground::new("unwatched").await;
    here.config.namespaces = vec![here.namespace.clone(), also.namespace.clone()];
    let operator = here.operator();
    let created = elsewhere.create("n1", json!({})).await;
    here.create("n1", json!({})).await;
    also.create("n1", json!({})).await;
    here.wait_for_phase("n1", "Issued").await;
    also.wait_for_phase("n1", "Issued").await;
    // The feed wakes both.
    let in_the_other = Ground {
        store: here.store.clone(),
        ..also
    };
    in_the_other.admit("n1", 5).await;
    in_the_other.wait_for_phase("n1", "Consumed").await;
    here.admit("n1", 5).await;
    here.wait_for_phase("n1", "Consumed").await;
    // The operator's watch hears of its own writes a moment later.
    let both = "jointoken_controller_resources{phase=\"Consumed\"} 2\n";
    let counted = async || operator.metrics.encode().unwrap().contains(both);
    here.until("both to be counted", counted).await;
    operator.stop().await;
    let now = elsewhere.resources().get("n1").await.unwrap();
    assert_eq!(
        now.metadata.resource_version,
        created.metadata.resource_version
    );
    for ground in [here, in_the_other, elsewhere] {
        ground.remove().await;
    }
}
