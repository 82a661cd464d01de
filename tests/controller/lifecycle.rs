//! A token's life, as its resource tells it.

use jointoken::api::Phase;
use jointoken::lifecycle::outcome::BeginOutcome;
use jointoken::lifecycle::{Phase as StorePhase, Reason};
use kube::ResourceExt;
use serde_json::json;

use crate::ground::{DOOR_CA, Ground, MINUTE_MS, START_MS, URL, condition, conditions};

#[tokio::test]
async fn a_token_is_issued_claimed_and_used() {
    let ground = Ground::new("life").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    let issued = ground.wait_for_phase("n1", "Issued").await;

    let status = issued.status.clone().unwrap();
    let record = ground.record("n1");
    assert_eq!(status.token_id, Some(record.token_id.to_string()));
    assert_eq!(status.revision, Some(1));
    assert_eq!(status.reissues, Some(0));
    assert_eq!(status.attempts, Some(0));
    assert_eq!(status.store_epoch, Some(1));
    assert_eq!(status.store_index, Some(record.changed_at_index));
    assert_eq!(status.secret_name.as_deref(), Some("n1-join-token"));
    let joiner = status.joiner.unwrap();
    assert_eq!(joiner.node_name.as_deref(), Some("n1"));
    assert_eq!((joiner.address, joiner.public_key_sha256), (None, None));
    let seconds = |time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.unwrap().0.as_second()
    };
    assert_eq!(seconds(status.issued_at) as u64 * 1_000, START_MS);
    assert_eq!(
        seconds(status.expires_at) as u64 * 1_000,
        START_MS + 60 * MINUTE_MS
    );
    assert_eq!(
        conditions(&issued),
        [
            "Ready=True/Issued",
            "Succeeded=Unknown/Issued",
            "Usable=True/Issued"
        ]
    );

    let data = ground.secret_data("n1").await.expect("the Secret");
    let keys: Vec<&str> = data.keys().map(String::as_str).collect();
    assert_eq!(keys, ["ca.crt", "join-command", "token", "url"]);
    assert_eq!(data["ca.crt"], DOOR_CA.as_bytes());
    assert_eq!(data["url"], URL.as_bytes());
    let verified = ground.verified_token("n1").await;
    assert_eq!(verified.token_id, record.token_id);
    assert_eq!(verified.node_name, "n1");
    let command = String::from_utf8(data["join-command"].clone()).unwrap();
    let token = String::from_utf8(data["token"].clone()).unwrap();
    assert!(
        !command.contains(&token),
        "the command must not carry the token"
    );
    let finalizers = issued.finalizers();
    assert_eq!(finalizers, [jointoken::controller::FINALIZER]);

    let BeginOutcome::Granted { .. } = ground.begin(record.token_id, 5).await else {
        panic!("the claim was not granted");
    };
    let claimed = ground.wait_for_phase("n1", "InFlight").await;
    assert_eq!(
        conditions(&claimed),
        [
            "Ready=True/InFlight",
            "Succeeded=Unknown/InFlight",
            "Usable=False/InFlight"
        ]
    );
    assert_eq!(claimed.status.unwrap().attempts, Some(1));

    ground.admit("n1", 5).await;
    ground.wait_secret_gone("n1-join-token").await;
    let used = ground
        .wait("n1", "Consumed, without finalizer", |resource, status| {
            status.phase == Some(Phase::Consumed) && resource.finalizers().is_empty()
        })
        .await;
    assert_eq!(
        conditions(&used),
        [
            "Ready=True/Consumed",
            "Succeeded=True/Consumed",
            "Usable=False/Consumed"
        ]
    );
    let status = used.status.clone().unwrap();
    let joiner = status.joiner.unwrap();
    assert_eq!(joiner.address.as_deref(), Some("192.0.2.5"));
    assert_eq!(joiner.public_key_sha256, Some("05".repeat(32)));
    assert_eq!(status.secret_name, None);
    assert!(status.consumed_at.is_some());
    // Ready has been True all the time.
    let ready_since = |resource: &jointoken::api::JoinToken| {
        let status = resource.status.clone().unwrap();
        let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready");
        ready.unwrap().last_transition_time
    };
    assert_eq!(ready_since(&used), ready_since(&issued));
    assert_eq!(
        ground.event_reasons("n1", 3).await,
        ["Issued", "Claimed", "Admitted"]
    );

    // Another key with the same token: it may have been stolen.
    assert_eq!(
        ground.begin(record.token_id, 6).await,
        BeginOutcome::AlreadyConsumed
    );
    let contested = ground
        .wait_for("n1", "Contested", "True", "UsedByAnotherKey")
        .await;
    assert_eq!(
        contested.status.unwrap().joiner.unwrap().address.as_deref(),
        Some("192.0.2.5")
    );

    let text = operator.metrics.encode().unwrap();
    assert!(
        text.contains("jointoken_controller_effects_total{effect=\"register\"} 1\n"),
        "{text}"
    );
    assert!(
        !text.contains("jointoken_controller_errors_total{"),
        "{text}"
    );
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn an_unused_token_expires() {
    let ground = Ground::new("expiry").await;
    let operator = ground.operator();
    ground.create("n1", json!({"ttlSeconds": 60})).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.pass(MINUTE_MS).await;
    let expired = ground.wait_for_phase("n1", "Expired").await;
    assert_eq!(
        conditions(&expired),
        [
            "Ready=True/Expired",
            "Succeeded=False/Expired",
            "Usable=False/Expired"
        ]
    );
    let (_, _, message) = condition(&expired, "Ready").unwrap();
    assert!(message.contains("set spec.revision to 2"), "{message}");
    ground.wait_secret_gone("n1-join-token").await;
    ground
        .wait("n1", "without finalizer", |resource, _| {
            resource.finalizers().is_empty()
        })
        .await;
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_claim_that_lapses_gives_the_token_back() {
    let ground = Ground::new("lapse").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.begin(ground.record("n1").token_id, 5).await;
    ground.wait_for_phase("n1", "InFlight").await;
    ground.pass(5 * MINUTE_MS).await;
    let issued = ground.wait_for_phase("n1", "Issued").await;
    assert_eq!(issued.status.unwrap().attempts, Some(1));
    assert_eq!(
        ground.event_reasons("n1", 3).await,
        ["Issued", "Claimed", "ClaimReverted"]
    );
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_revoked_token_ends_and_a_revoked_machine_is_barred() {
    let ground = Ground::new("revoke").await;
    let operator = ground.operator();
    ground.create("live", json!({})).await;
    ground.create("used", json!({})).await;
    ground.create("never", json!({"revoked": true})).await;
    ground.wait_for_phase("live", "Issued").await;
    ground.wait_for_phase("used", "Issued").await;
    ground.admit("used", 5).await;
    ground.wait_for_phase("used", "Consumed").await;

    for name in ["live", "used"] {
        ground.patch(name, json!({"spec": {"revoked": true}})).await;
    }
    let revoked = ground.wait_for_phase("live", "Aborted").await;
    assert_eq!(
        conditions(&revoked),
        [
            "Ready=True/Revoked",
            "Succeeded=False/Revoked",
            "Usable=False/Revoked"
        ]
    );
    assert_eq!(ground.record("live").aborted, Some(Reason::Revoked));
    ground.wait_secret_gone("live-join-token").await;

    let barred = ground
        .wait("used", "barred", |resource, _| {
            condition(resource, "Ready").is_some_and(|(_, _, message)| message.contains("barred"))
        })
        .await;
    assert_eq!(barred.status.as_ref().unwrap().phase, Some(Phase::Consumed));
    assert_eq!(
        conditions(&barred),
        [
            "Ready=True/Revoked",
            "Succeeded=True/Consumed",
            "Usable=False/Consumed"
        ]
    );
    let record = ground.record("used");
    assert!(record.admission.unwrap().barred.is_some());

    ground.wait_for_phase("never", "Aborted").await;
    assert_eq!(ground.secret_data("never").await, None);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn deleting_a_live_resource_ends_its_token_first() {
    let ground = Ground::new("delete").await;
    let operator = ground.operator();
    let resource = ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.delete("n1").await;
    ground.wait_gone(&resource).await;
    let record = ground.record("n1");
    assert_eq!(
        (record.phase, record.aborted),
        (StorePhase::Aborted, Some(Reason::Deleted))
    );
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn deleting_a_resource_never_bars_its_machine() {
    let ground = Ground::new("delete-used").await;
    let operator = ground.operator();
    let resource = ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    operator.stop().await;
    // The machine is admitted while no operator runs: the finalizer is still there.
    ground.admit("n1", 5).await;
    ground.delete("n1").await;
    let operator = ground.operator();
    ground.wait_gone(&resource).await;
    let record = ground.record("n1");
    assert_eq!(record.phase, StorePhase::Consumed);
    assert_eq!(record.admission.unwrap().barred, None);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn only_a_leader_does_anything_and_looks_at_all_when_it_becomes_one() {
    let (ground, store) = Ground::with_memory("leader").await;
    store.set_leader(false);
    let operator = ground.operator();
    let created = ground.create("n1", json!({})).await;
    ground.create("n2", json!({})).await;
    // The watch has seen both: a reconciliation that did anything would have added a finalizer.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let idle = ground.resources().get("n1").await.unwrap();
    assert_eq!(
        idle.metadata.resource_version,
        created.metadata.resource_version
    );
    store.set_leader(true);
    ground.wait_for_phase("n1", "Issued").await;
    ground.wait_for_phase("n2", "Issued").await;
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn while_the_stores_clock_is_ahead_nothing_is_issued_and_the_status_says_so() {
    let ground = Ground::new("clock").await;
    // Somebody's clock was an hour ahead and has been set right.
    ground.pass(60 * MINUTE_MS).await;
    ground.clock.set(START_MS);
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground
        .wait_for("n1", "Reconciling", "True", "StoreUnavailable")
        .await;
    assert_eq!(ground.entry("n1"), None);
    ground.clock.set(START_MS + 60 * MINUTE_MS);
    let issued = ground.wait_for_phase("n1", "Issued").await;
    assert_eq!(condition(&issued, "Reconciling"), None);
    let text = operator.metrics.encode().unwrap();
    assert!(
        text.contains("errors_total{category=\"store_clock\"}"),
        "{text}"
    );
    operator.stop().await;
    ground.remove().await;
}

/// kube's graceful stop waits for the first list of resources, which does not come while the API server
/// cannot be reached: the process would hang until it is killed.
#[tokio::test]
async fn an_operator_that_has_not_listed_yet_stops_all_the_same() {
    let ground = Ground::new("early-stop").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = crate::ground::admin().await;
    // Accepts connections and never says anything.
    config.cluster_url = format!("https://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let operator = ground.operator_with(client, |effects| effects);
    let _connection = listener.accept().await.unwrap();
    operator.stop().await;
    ground.remove().await;
}
