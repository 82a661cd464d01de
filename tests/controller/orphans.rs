//! Tokens whose resource goes without the operator's seeing it go: the finalizer that would keep it is taken off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use jointoken::api::JoinToken;
use jointoken::controller::{Effect, Effected, Effects, Error};
use jointoken::lifecycle::{Phase, Reason};
use jointoken::store::submit;
use jointoken::token::TokenId;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::ground::Ground;

async fn ends(ground: &Ground, name: &str) {
    let is_ended = async || ground.record(name).phase == Phase::Aborted;
    ground.until("the token's end", is_ended).await;
    assert_eq!(ground.record(name).aborted, Some(Reason::Deleted));
}

/// Takes the resource away with its finalizer.
async fn tear_away(ground: &Ground, name: &str) {
    let there = ground.resources().get(name).await.unwrap();
    ground.discard(name).await;
    ground.wait_gone(&there).await;
}

#[tokio::test]
async fn a_token_ends_whose_resource_was_torn_away_while_the_operator_was_down() {
    let ground = Ground::new("torn").await;
    let operator = ground.operator();
    for name in ["gone", "stays"] {
        ground.create(name, json!({})).await;
        ground.wait_for_phase(name, "Issued").await;
    }
    operator.stop().await;
    // Of a namespace that this operator does not watch nothing is known.
    let elsewhere = ground.registration("elsewhere");
    submit(&*ground.store, elsewhere).await.unwrap();
    tear_away(&ground, "gone").await;
    let operator = ground.operator();
    ends(&ground, "gone").await;
    // It comes after the others in the same look.
    ground.poke("stays").await;
    ground.wait_for_phase("stays", "Issued").await;
    assert_eq!(ground.record("stays").phase, Phase::Issued);
    let other = ground.store.record(&TokenId([0xab; 16])).unwrap();
    assert_eq!(other.phase, Phase::Issued);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_token_ends_whose_namespace_was_made_anew_while_the_operator_was_down() {
    let ground = Ground::new("anew-ns").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    operator.stop().await;
    tear_away(&ground, "n1").await;
    let namespaces: Api<Namespace> = Api::all(ground.client.clone());
    let name = ground.namespace.clone();
    let params = DeleteParams::default();
    namespaces.delete(&name, &params).await.unwrap();
    let is_gone = async || namespaces.get_opt(&name).await.unwrap().is_none();
    ground.until("the namespace's end", is_gone).await;
    let anew = json!({"metadata": {"name": name}});
    let anew: Namespace = serde_json::from_value(anew).unwrap();
    let params = PostParams::default();
    namespaces.create(&params, &anew).await.unwrap();
    let operator = ground.operator();
    ends(&ground, "n1").await;
    operator.stop().await;
    ground.remove().await;
}

/// Does all but put the finalizer back.
struct Slow {
    real: Arc<dyn Effects>,
    is_slow: Arc<AtomicBool>,
}

impl Effects for Slow {
    fn perform<'a>(
        &'a self,
        resource: &'a JoinToken,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Effected, Error>> {
        if self.is_slow.load(Ordering::SeqCst) && matches!(effect, Effect::AddFinalizer) {
            return async { Ok(Effected::Outdated) }.boxed();
        }
        self.real.perform(resource, effect)
    }
}

#[tokio::test]
async fn a_token_ends_at_once_whose_resource_is_torn_away_while_the_operator_runs() {
    let ground = Ground::new("torn-now").await;
    let is_slow = Arc::new(AtomicBool::new(false));
    let slow = Arc::clone(&is_slow);
    let operator = ground.operator_with(ground.client.clone(), |real| {
        Arc::new(Slow {
            real,
            is_slow: slow,
        })
    });
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    is_slow.store(true, Ordering::SeqCst);
    tear_away(&ground, "n1").await;
    ends(&ground, "n1").await;
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_token_ends_whose_resource_was_torn_away_while_nobody_led() {
    let (ground, memory) = Ground::with_memory("leaderless").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    memory.set_leader(false);
    tear_away(&ground, "n1").await;
    memory.set_leader(true);
    ends(&ground, "n1").await;
    operator.stop().await;
    ground.remove().await;
}
