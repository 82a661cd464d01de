//! An API server that does not do what it is asked: each request fails once, in each of the ways that it knows.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use hyper::{Request, Response};
use jointoken::api::Phase;
use kube::client::Body;
use kube::{Client, ResourceExt};
use serde_json::json;
use tower::service_fn;

use crate::ground::Ground;

/// What an API server says then.
const TROUBLE: [(u16, &str); 6] = [
    (409, "Conflict"),
    (410, "Expired"),
    (429, "TooManyRequests"),
    (500, "InternalError"),
    (503, "ServiceUnavailable"),
    // Carried out all the same: only the answer is lost.
    (504, "Timeout"),
];

/// A client each of whose requests fails the first time, and how many have.
fn unreliable(
    real: Client,
    (code, reason): (u16, &'static str),
) -> (Client, Arc<Mutex<HashSet<String>>>) {
    let failed = Arc::new(Mutex::new(HashSet::new()));
    let noted = failed.clone();
    let service = service_fn(move |request: Request<Body>| {
        let real = real.clone();
        let is_watch = request.uri().query().is_some_and(|q| q.contains("watch="));
        let kind = format!("{} {} {is_watch}", request.method(), request.uri().path());
        let is_first = noted.lock().unwrap().insert(kind);
        async move {
            if !is_first {
                return Ok(real.send(request).await?);
            }
            if code == 504 && !is_watch {
                real.send(request).await?;
            }
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": code, "reason": reason, "message": "trouble",
            });
            let body = Body::from(status.to_string().into_bytes());
            Ok::<_, tower::BoxError>(Response::builder().status(code).body(body)?)
        }
    });
    (Client::new(service, "default"), failed)
}

async fn play(trouble: (u16, &'static str)) {
    let ground = Ground::new("trouble").await;
    let (client, failed) = unreliable(ground.client.clone(), trouble);
    let operator = ground.operator_with(client, |effects| effects);
    let names = ["used", "revoked", "deleted"];
    for name in names {
        ground.create(name, json!({})).await;
    }
    for name in names {
        ground.wait_for_phase(name, "Issued").await;
        let verified = ground.verified_token(name).await;
        assert_eq!(
            verified.token_id,
            ground.record(name).token_id,
            "{trouble:?}"
        );
        assert_eq!(ground.entry(name).unwrap().reissue, 0, "{trouble:?}");
    }
    ground.admit("used", 5).await;
    let revoked = json!({"spec": {"revoked": true}});
    ground.patch("revoked", revoked).await;
    let deleted = ground.resources().get("deleted").await.unwrap();
    ground.delete("deleted").await;
    ground.wait_gone(&deleted).await;
    for (name, phase) in [("used", Phase::Consumed), ("revoked", Phase::Aborted)] {
        ground
            .wait(name, (phase, trouble), |resource, status| {
                status.phase == Some(phase) && resource.finalizers().is_empty()
            })
            .await;
        ground.wait_secret_gone(&format!("{name}-join-token")).await;
    }
    operator.stop().await;
    // List and watch, the namespace, events, and of each resource: itself, its status, its Secret in three ways.
    assert!(failed.lock().unwrap().len() >= 15, "{trouble:?}");
    ground.remove().await;
}

#[tokio::test]
async fn every_story_ends_well_on_an_api_server_that_fails_now_and_then() {
    futures::future::join_all(TROUBLE.map(play)).await;
}
