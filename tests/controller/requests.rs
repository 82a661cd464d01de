//! What the operator costs the API server, and under which name: every request that it makes is counted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use hyper::Request;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tower::service_fn;

use crate::ground::Ground;

/// The requests so far, as method and path.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    /// A client like this one whose requests are written down.
    fn of(real: Client) -> (Client, Self) {
        let requests = Self::default();
        let noted = requests.clone();
        let service = service_fn(move |request: Request<Body>| {
            let real = real.clone();
            let line = format!("{} {}", request.method(), request.uri().path());
            noted.0.lock().unwrap().push(line.clone());
            let noted = noted.clone();
            async move {
                let response = real.send(request).await?;
                if response.status() == 409 {
                    noted.0.lock().unwrap().push(format!("409 to {line}"));
                }
                Ok::<_, tower::BoxError>(response)
            }
        });
        (Client::new(service, "default"), requests)
    }

    /// Those made since that are of interest.
    fn since(&self, start: usize, of_interest: impl Fn(&str) -> bool) -> Vec<String> {
        let all = self.0.lock().unwrap();
        let since = all[start..].iter().filter(|line| of_interest(line));
        since.cloned().collect()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

async fn issue(ground: &Ground, names: &[String]) {
    for name in names {
        ground.create(name, json!({})).await;
    }
    for name in names {
        ground.wait_for_phase(name, "Issued").await;
        ground.wait_for(name, "Usable", "True", "Issued").await;
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|of| format!("rest-{of}")).collect()
}

#[tokio::test]
async fn resources_at_rest_cost_nothing() {
    let ground = Ground::new("at-rest").await;
    let (client, requests) = Requests::of(ground.client.clone());
    let (keys, keys_in_order) = watch::channel(true);
    let operator = ground.run(client, |operator| {
        operator.with_keys_in_order(keys_in_order)
    });
    issue(&ground, &names(20)).await;
    // What came of their own statuses may still be looked at; then nothing more, whatever else happens.
    let mut quiet = 0;
    for cycle in 0..40 {
        let start = requests.count();
        keys.send_replace(true);
        let name = format!("fence-{cycle}");
        let fence = ground.create(&name, json!({})).await;
        ground.wait_for_phase(&name, "Issued").await;
        ground.delete(&name).await;
        ground.wait_gone(&fence).await;
        let about_others = requests.since(start, |line| line.contains("/rest-"));
        quiet = if about_others.is_empty() {
            quiet + 1
        } else {
            0
        };
        if quiet == 5 {
            break;
        }
    }
    assert_eq!(quiet, 5, "resources at rest were looked at again and again");
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_look_at_every_resource_asks_for_their_namespace_a_few_times() {
    const COUNT: usize = 40;
    let (ground, memory) = Ground::with_memory("sweep").await;
    let (client, requests) = Requests::of(ground.client.clone());
    let operator = ground.operator_with(client, |effects| effects);
    issue(&ground, &names(COUNT)).await;
    let start = requests.count();
    memory.set_leader(false);
    // The operator sees the one before the other.
    tokio::task::yield_now().await;
    let fence = ground.create("fence", json!({})).await;
    memory.set_leader(true);
    ground.wait_for_phase("fence", "Issued").await;
    drop(fence);
    let secrets = || -> BTreeSet<String> {
        let looked = requests.since(start, |line| {
            line.starts_with("GET ") && line.contains("/secrets/rest-")
        });
        looked.into_iter().collect()
    };
    ground
        .until("every resource to be looked at", async || {
            secrets().len() == COUNT
        })
        .await;
    let namespace = format!("GET /api/v1/namespaces/{}", ground.namespace);
    let asked = requests.since(start, |line| line == namespace).len();
    assert!(asked <= COUNT / 3, "{asked} requests for one namespace");
    operator.stop().await;
    ground.remove().await;
}

/// The operator comes back while a namespace full of live tokens is being deleted.
#[tokio::test]
async fn nothing_is_created_in_a_namespace_that_is_being_deleted() {
    let ground = Ground::new("ending").await;
    let first = ground.operator();
    issue(&ground, &names(5)).await;
    first.stop().await;
    let namespaces: Api<Namespace> = Api::all(ground.client.clone());
    namespaces
        .delete(&ground.namespace, &DeleteParams::default())
        .await
        .unwrap();
    ground
        .until("all to be deleted", async || {
            let all = ground
                .resources()
                .list(&ListParams::default())
                .await
                .unwrap();
            let mut deleted = all
                .iter()
                .map(|one| one.metadata.deletion_timestamp.is_some());
            deleted.all(|is_deleted| is_deleted)
        })
        .await;
    let (client, requests) = Requests::of(ground.client.clone());
    let second = ground.operator_with(client, |effects| effects);
    ground
        .until("the namespace to go", async || {
            let found = namespaces.get_opt(&ground.namespace).await.unwrap();
            found.is_none()
        })
        .await;
    assert_eq!(
        requests.since(0, |line| line.starts_with("POST ")),
        Vec::<String>::new()
    );
    for name in names(5) {
        let record = ground.record(&name);
        assert!(record.phase.is_terminal(), "{name}: {record:?}");
    }
    second.stop().await;
}

#[tokio::test]
async fn whatever_the_operator_writes_is_its_own_by_name() {
    let ground = Ground::new("managers").await;
    let operator = ground.operator();
    let params = PostParams {
        field_manager: Some("somebody".to_owned()),
        ..PostParams::default()
    };
    let resource = json!({
        "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken", "metadata": {"name": "n1"}, "spec": {},
    });
    let resource = serde_json::from_value(resource).unwrap();
    ground.resources().create(&params, &resource).await.unwrap();
    ground.wait_for("n1", "Usable", "True", "Issued").await;
    let secret = ground.secrets().get("n1-join-token").await.unwrap();
    let issued = ground.untyped().get("n1").await.unwrap();
    ground.admit("n1", 5).await;
    ground
        .wait("n1", "released", |resource, _| {
            resource.finalizers().is_empty()
        })
        .await;
    let consumed = ground.untyped().get("n1").await.unwrap();
    let events = ground.events("n1", 2).await;
    let managers =
        |managed: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry]| {
            let named = managed.iter().filter_map(|entry| entry.manager.clone());
            named.collect::<BTreeSet<_>>()
        };
    let both = BTreeSet::from(["jointoken".to_owned(), "somebody".to_owned()]);
    assert_eq!(managers(issued.managed_fields()), both);
    assert!(managers(consumed.managed_fields()).is_subset(&both));
    let ours = BTreeSet::from(["jointoken".to_owned()]);
    assert_eq!(managers(secret.managed_fields()), ours);
    for event in &events {
        assert_eq!(managers(event.managed_fields()), ours);
        let reporter = event.reporting_controller.as_deref();
        assert_eq!(reporter, Some("jointoken.io/operator"));
        let regarding = event.regarding.as_ref().unwrap();
        assert_eq!(regarding.resource_version, None);
    }
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_resource_with_the_longest_of_names_has_events() {
    let ground = Ground::new("long-name").await;
    let operator = ground.operator();
    let name = "n".repeat(253);
    let spec = json!({"nodeName": "n1", "secretName": "n1-join-token"});
    ground.create(&name, spec).await;
    ground.wait_for_phase(&name, "Issued").await;
    let events: Vec<Event> = ground.events(&name, 1).await;
    assert_eq!(events[0].reason.as_deref(), Some("Issued"));
    operator.stop().await;
    ground.remove().await;
}

/// `kubectl delete --cascade=orphan` takes the owner off the Secret. It stayed in the way of its own resource.
#[tokio::test]
async fn a_secret_of_our_own_that_was_left_behind_is_replaced() {
    let ground = Ground::new("orphan").await;
    let operator = ground.operator();
    let created = ground.create("n1", json!({})).await;
    ground.wait_for("n1", "Usable", "True", "Issued").await;
    // As the garbage collector does it, once the resource is being deleted: before that the operator puts the owner back.
    operator.stop().await;
    let orphan = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    let secrets = ground.secrets();
    let params = PatchParams::default();
    let patched = secrets.patch("n1-join-token", &params, &orphan).await;
    patched.unwrap();
    ground.delete("n1").await;
    let operator = ground.operator();
    ground.wait_gone(&created).await;
    let left = ground.secrets().get("n1-join-token").await.unwrap();
    assert_eq!(left.owner_references().len(), 0);

    // Somebody else's that looks like it is touched by nobody.
    let mut alike: Secret = left.clone();
    alike.metadata = kube::core::ObjectMeta {
        name: Some("n2-join-token".to_owned()),
        annotations: left.metadata.annotations.clone(),
        labels: left.metadata.labels.clone(),
        ..Default::default()
    };
    let alike = ground
        .secrets()
        .create(&PostParams::default(), &alike)
        .await
        .unwrap();
    ground.create("n2", json!({})).await;
    ground
        .wait_for("n2", "Stalled", "True", "SecretConflict")
        .await;

    ground.create("n1", json!({"revision": 2})).await;
    ground.wait_for("n1", "Usable", "True", "Issued").await;
    let token_id = ground.verified_token("n1").await.token_id;
    assert_eq!(token_id, ground.record("n1").token_id);
    let now = ground.secrets().get("n2-join-token").await.unwrap();
    assert_eq!(now.uid(), alike.uid());
    operator.stop().await;
    ground.remove().await;
}

/// Of a claim and of the admission the store tells sooner than the watch tells of what was written after the claim.
#[tokio::test]
async fn an_admission_costs_no_conflicts() {
    let ground = Ground::new("conflicts").await;
    let (client, requests) = Requests::of(ground.client.clone());
    let operator = ground.operator_with(client, |effects| effects);
    let names = names(10);
    issue(&ground, &names).await;
    let start = requests.count();
    for name in &names {
        ground.admit(name, 5).await;
        ground
            .wait(name, "released", |resource, status| {
                status.consumed_at.is_some() && resource.finalizers().is_empty()
            })
            .await;
    }
    let conflicts = requests.since(start, |line| line.starts_with("409 "));
    assert_eq!(conflicts, Vec::<String>::new());
    operator.stop().await;
    ground.remove().await;
}
