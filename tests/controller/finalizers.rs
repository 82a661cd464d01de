//! Finalizers of others, more than the operator keeps in memory.

use jointoken::controller::FINALIZER;
use kube::ResourceExt;
use serde_json::json;

use crate::ground::Ground;

#[tokio::test]
async fn many_finalizers_of_others_stay_while_ours_comes_and_goes() {
    let ground = Ground::new("many").await;
    let others: Vec<String> = (0..40).map(|at| format!("example.org/of-{at}")).collect();
    ground.create("n1", json!({})).await;
    let patch = json!({"metadata": {"finalizers": others}});
    ground.patch("n1", patch).await;
    let operator = ground.operator();
    let issued = ground.wait_for_phase("n1", "Issued").await;
    let mut with_ours = others.clone();
    with_ours.push(FINALIZER.to_owned());
    assert_eq!(issued.finalizers(), with_ours);
    ground.delete("n1").await;
    let is_let_go = |resource: &jointoken::api::JoinToken, _: &_| resource.finalizers() == others;
    ground.wait("n1", "without ours", is_let_go).await;
    operator.stop().await;
    ground.remove().await;
}
