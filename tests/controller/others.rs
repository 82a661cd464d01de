//! Two stores, each with an operator of its own, and JoinTokens that both could serve. What is one's the other leaves
//! alone, and nobody makes them write without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Method, Request};
use jointoken::api::{JoinToken, Phase};
use jointoken::controller::{CLAIM, Effect, Effected, Effects, Error, FormerStores};
use jointoken::lifecycle::Phase as StorePhase;
use jointoken::token::StoreId;
use kube::client::{Body, ClientBuilder};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;
use tower::util::MapRequestLayer;

use crate::ground::{Ground, Running, STORE, admin};

const OTHER: StoreId = StoreId([8; 16]);

/// What was asked of the API server.
#[derive(Clone, Default)]
struct Asked {
    all: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
}

impl Asked {
    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    fn all(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }
}

/// A client whose requests are counted.
async fn counted() -> (Client, Asked) {
    let asked = Asked::default();
    let counting = asked.clone();
    let layer = MapRequestLayer::new(move |request: Request<Body>| {
        counting.all.fetch_add(1, Ordering::SeqCst);
        if request.method() != Method::GET {
            counting.writes.fetch_add(1, Ordering::SeqCst);
        }
        request
    });
    let builder = ClientBuilder::try_from(admin().await).expect("a client");
    (builder.with_layer(&layer).build(), asked)
}

/// How many looks have ended.
fn looks(operator: &Running) -> u64 {
    let text = operator.metrics.encode().unwrap();
    let lines = text.lines();
    lines
        .filter(|line| line.starts_with("jointoken_controller_reconciles_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn store_of(resource: &JoinToken) -> Option<String> {
    resource.status.as_ref()?.store_id.clone()
}

#[tokio::test]
async fn two_living_stores_touch_nothing_of_each_other() {
    let one = Ground::new("two-stores").await;
    // Founded before any status told of the other, and above it for whatever reason.
    let two = one.beside(OTHER, 7).await;
    let ((first, asked_one), (second, asked_two)) = (counted().await, counted().await);
    let running = [
        one.operator_with(first, |effects| effects),
        two.operator_with(second, |effects| effects),
    ];
    let names: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
    for name in &names {
        one.create(name, json!({})).await;
    }
    let mut owners = Vec::new();
    for name in &names {
        let issued = one
            .wait(name, "Issued", |resource, status| {
                status.phase == Some(Phase::Issued) && !resource.finalizers().is_empty()
            })
            .await;
        let owner = store_of(&issued).expect("a status names its store");
        let (owns, other) = match owner == STORE.to_string() {
            true => (&one, &two),
            false => (&two, &one),
        };
        assert_eq!(owner, owns.store.founded().unwrap().store_id.to_string());
        assert_eq!(owns.record(name).phase, StorePhase::Issued);
        assert_eq!(other.entry(name), None, "{name} is registered twice");
        let secret = owns.secrets().get(&format!("{name}-join-token")).await;
        let secret = secret.unwrap();
        assert_eq!(secret.annotations()["jointoken.io/store-id"], owner);
        owns.verified_token(name).await;
        owners.push(owner);
    }
    // Both look at all of them. Once the last event is out nothing is written any more.
    let round = async || {
        let seen: Vec<u64> = running.iter().map(looks).collect();
        for name in &names {
            one.poke(name).await;
        }
        for (operator, seen) in running.iter().zip(seen) {
            let has_looked = async || looks(operator) >= seen + 12;
            one.until("both to have looked", has_looked).await;
        }
        (
            asked_one.writes() + asked_two.writes(),
            asked_one.all() + asked_two.all(),
        )
    };
    let mut rounds = Vec::new();
    while rounds.len() < 10 {
        rounds.push(round().await);
        if let [.., (first, _), _, (last, _)] = rounds[..]
            && first == last
        {
            break;
        }
    }
    let [.., (before, all), _, (after, more)] = rounds[..] else {
        panic!("{rounds:?}");
    };
    assert_eq!(before, after, "{rounds:?}");
    // Of each resource its own operator reads namespace and Secret, perhaps twice.
    assert!(more - all <= 2 * 12 * 4, "{rounds:?}");
    // Each goes on with what is its own.
    for (name, owner) in names.iter().zip(&owners) {
        let owns = if *owner == STORE.to_string() {
            &one
        } else {
            &two
        };
        owns.admit(name, 5).await;
        let consumed = owns.wait_for_phase(name, "Consumed").await;
        assert_eq!(store_of(&consumed).as_ref(), Some(owner));
    }
    let [first, second] = running;
    let foreign = |operator: &Running| {
        let text = operator.metrics.encode().unwrap();
        let name = "jointoken_controller_foreign_resources ";
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.parse::<usize>().unwrap()
    };
    one.until("all to be counted", async || {
        foreign(&first) + foreign(&second) == names.len()
    })
    .await;
    first.stop().await;
    second.stop().await;
    one.remove().await;
}

/// Stands still before the first thing that it writes.
struct Late {
    effects: Arc<dyn Effects>,
    arrived: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Effects for Late {
    fn perform<'a>(
        &'a self,
        resource: &'a JoinToken,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Effected, Error>> {
        async move {
            if *effect == Effect::AddFinalizer {
                self.arrived.notify_one();
                self.go_on.notified().await;
            }
            self.effects.perform(resource, effect).await
        }
        .boxed()
    }
}

#[tokio::test]
async fn of_two_that_see_a_fresh_resource_one_registers_a_token() {
    let one = Ground::new("race").await;
    let two = one.beside(OTHER, 1).await;
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at, until) = (arrived.clone(), go_on.clone());
    let late = one.operator_with(one.client.clone(), |effects| {
        Arc::new(Late {
            effects,
            arrived: at,
            go_on: until,
        })
    });
    one.create("n1", json!({})).await;
    arrived.notified().await;
    let operator = two.operator();
    let issued = two.wait_for_phase("n1", "Issued").await;
    assert_eq!(
        issued.annotations()[CLAIM],
        format!("{OTHER}/{}", issued.uid().unwrap())
    );
    let before = looks(&late);
    go_on.notify_one();
    one.until("the late one's look", async || looks(&late) > before)
        .await;
    assert_eq!(one.entry("n1"), None);
    assert_eq!(store_of(&issued), Some(OTHER.to_string()));
    two.admit("n1", 5).await;
    two.wait_for_phase("n1", "Consumed").await;
    late.stop().await;
    operator.stop().await;
    one.remove().await;
}

/// A claim without a status, as of an operator that died after its first write; and one that came with a copied manifest.
#[tokio::test]
async fn a_claim_counts_for_the_resource_that_it_was_made_for() {
    let mut ground = Ground::new("claim").await;
    let claimed = ground.create("claimed", json!({})).await;
    ground.create("copied", json!({})).await;
    let claim = format!("{OTHER}/{}", claimed.uid().unwrap());
    let claim = json!({"metadata": {"annotations": {CLAIM: claim}}});
    let claimed = ground.patch("claimed", claim.clone()).await;
    ground.patch("copied", claim).await;
    let operator = ground.operator();
    ground.wait_for_phase("copied", "Issued").await;
    ground.event_reasons("claimed", 1).await;
    let now = ground.resources().get("claimed").await.unwrap();
    assert_eq!(
        now.metadata.resource_version,
        claimed.metadata.resource_version
    );
    assert_eq!(ground.entry("claimed"), None);
    operator.stop().await;
    // Taken over, it is this store's from the beginning.
    ground.former_stores = FormerStores::new([OTHER].into());
    let operator = ground.operator();
    ground.wait_for_phase("claimed", "Issued").await;
    operator.stop().await;
    ground.remove().await;
}

/// Whoever may write the status must not be able to keep a token alive that is revoked or whose resource is deleted.
#[tokio::test]
async fn a_token_ends_with_its_resource_though_the_status_names_another_store() {
    let ground = Ground::new("still-ours").await;
    let operator = ground.operator();
    for name in ["revoked", "deleted", "alone"] {
        ground.create(name, json!({})).await;
        ground.wait_for_phase(name, "Issued").await;
        let status = json!({"storeId": OTHER.to_string()});
        ground.forge_status(name, status).await;
    }
    ground
        .patch("revoked", json!({"spec": {"revoked": true}}))
        .await;
    ground.delete("deleted").await;
    for name in ["revoked", "deleted"] {
        ground
            .until("the token to have ended", async || {
                ground.record(name).phase == StorePhase::Aborted
            })
            .await;
    }
    assert_eq!(ground.record("alone").phase, StorePhase::Issued);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn what_a_store_that_is_gone_for_good_left_is_taken_over_as_used() {
    let lost = Ground::new("take-over").await;
    let high = lost.beside(OTHER, 9).await;
    let operator = high.operator();
    for name in ["live", "used"] {
        high.create(name, json!({})).await;
        high.wait_for_phase(name, "Issued").await;
    }
    high.admit("used", 5).await;
    high.wait_for_phase("used", "Consumed").await;
    operator.stop().await;

    // Its epoch is below that of the lost one.
    let mut ground = lost;
    ground.former_stores = FormerStores::new([OTHER].into());
    let operator = ground.operator();
    for (name, phase) in [("live", Phase::Aborted), ("used", Phase::Consumed)] {
        let told = ground.wait_for(name, "Stalled", "True", "Restored").await;
        assert_eq!(told.status.as_ref().unwrap().phase, Some(phase));
        assert_eq!(store_of(&told), Some(STORE.to_string()));
        assert_eq!(told.status.unwrap().store_epoch, Some(1));
        ground.wait_secret_gone(&format!("{name}-join-token")).await;
        ground.patch(name, json!({"spec": {"revision": 2}})).await;
        ground.wait_for_phase(name, "Issued").await;
        ground.verified_token(name).await;
    }
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn each_class_has_an_operator_of_its_own() {
    let mut plain = Ground::new("class").await;
    let mut blue = plain.beside(OTHER, 1).await;
    blue.config.class = Some("blue".to_owned());
    plain.config.class = None;
    let operators = [plain.operator(), blue.operator()];
    plain.create("plain", json!({})).await;
    plain.create("blue", json!({"className": "blue"})).await;
    let red = plain.create("red", json!({"className": "red"})).await;
    let issued = plain.wait_for_phase("plain", "Issued").await;
    assert_eq!(store_of(&issued), Some(STORE.to_string()));
    let issued = blue.wait_for_phase("blue", "Issued").await;
    assert_eq!(store_of(&issued), Some(OTHER.to_string()));
    // Not even if it was the other's before.
    assert_eq!((plain.entry("blue"), blue.entry("plain")), (None, None));
    let now = plain.resources().get("red").await.unwrap();
    assert_eq!(now.metadata.resource_version, red.metadata.resource_version);
    blue.delete("blue").await;
    blue.wait_gone(&issued).await;
    for operator in operators {
        operator.stop().await;
    }
    plain.remove().await;
}

/// How long the operator takes at the most to write again, if it is not holding itself back.
const PROMPTLY: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_status_that_somebody_keeps_changing_is_written_ever_more_seldom() {
    let ground = Ground::new("fight").await;
    let (client, asked) = counted().await;
    let operator = ground.operator_with(client, |effects| effects);
    for name in ["fight", "other"] {
        ground.create(name, json!({})).await;
        ground.wait_for_phase(name, "Issued").await;
    }
    let before = asked.all();
    let is_right = |resource: Option<&JoinToken>| {
        let status = resource.and_then(|resource| resource.status.as_ref());
        status.is_some_and(|status| status.phase == Some(Phase::Issued))
    };
    let mut written = 0;
    loop {
        ground
            .forge_status("fight", json!({"phase": "Expired"}))
            .await;
        let again = await_condition(ground.resources(), "fight", is_right);
        match tokio::time::timeout(PROMPTLY, again).await {
            Ok(right) => right.expect("watching"),
            Err(_) => break,
        };
        written += 1;
        assert!(written < 10, "it never stops");
    }
    // Whatever is changed now makes no request at all.
    let held_back = asked.all();
    let seen = looks(&operator);
    for n in 0..20 {
        ground.forge_status("fight", json!({"attempts": n})).await;
    }
    ground
        .until("looks", async || looks(&operator) > seen)
        .await;
    assert!(held_back - before <= 12 * 6, "{}", held_back - before);
    // The watch itself, and nothing else.
    assert!(asked.all() - held_back <= 8, "{}", asked.all() - held_back);
    // Others, and what the store or the user says, do not wait.
    ground.admit("other", 5).await;
    ground.wait_for_phase("other", "Consumed").await;
    ground
        .patch("fight", json!({"spec": {"revoked": true}}))
        .await;
    let is_ended = async || ground.record("fight").phase == StorePhase::Aborted;
    ground.until("the token's end", is_ended).await;
    ground.wait_for_phase("fight", "Aborted").await;
    operator.stop().await;
    ground.remove().await;
}
