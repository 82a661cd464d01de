//! Each kind of change, with an operator that stops after its n-th effect, for every n: the next operator ends it
//! the same way.

use futures::FutureExt;
use futures::future::BoxFuture;
use jointoken::api::{JoinToken, Phase};
use jointoken::lifecycle::{Phase as StorePhase, Reason};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::ground::{Ground, MINUTE_MS, condition};
use crate::stopping::play;

/// One kind of change to a resource whose token is issued.
struct Story {
    name: &'static str,
    spec: Value,
    /// What happens while no operator runs.
    happens: for<'a> fn(&'a Ground, &'a str) -> BoxFuture<'a, ()>,
    /// How it ends; waited for while operators come and go.
    ends: for<'a> fn(&'a Ground, &'a JoinToken) -> BoxFuture<'a, ()>,
    /// The fewest effects that it can take.
    effects: usize,
}

async fn ended(ground: &Ground, before: &JoinToken, phase: Phase) {
    let name = before.name_any();
    ground
        .wait(&name, phase, |resource, status| {
            status.phase == Some(phase) && resource.finalizers().is_empty()
        })
        .await;
    let secret = ground.secret_data(&name).await;
    assert_eq!(secret, None, "{name}: its Secret is gone before it is said");
}

async fn issued(ground: &Ground, before: &JoinToken, revision: u64, reissue: u32) {
    let name = before.name_any();
    let former = before.status.clone().unwrap().token_id;
    let now = ground
        .wait(&name, (revision, reissue), |resource, status| {
            status.phase == Some(Phase::Issued)
                && status.revision == Some(revision)
                && status.reissues == Some(reissue)
                && !resource.finalizers().is_empty()
        })
        .await;
    let record = ground.record(&name);
    assert_eq!(
        now.status.unwrap().token_id,
        Some(record.token_id.to_string())
    );
    assert_ne!(Some(record.token_id.to_string()), former);
    assert_eq!(ground.verified_token(&name).await.token_id, record.token_id);
    let entry = ground.entry(&name).unwrap();
    assert_eq!(
        (entry.revision, entry.reissue),
        (revision, reissue),
        "{name}"
    );
}

fn stories() -> Vec<Story> {
    vec![
        Story {
            name: "expire",
            spec: json!({"ttlSeconds": 60}),
            happens: |ground, _| ground.pass(MINUTE_MS).boxed(),
            ends: |ground, before| ended(ground, before, Phase::Expired).boxed(),
            effects: 3,
        },
        Story {
            name: "admit",
            spec: json!({}),
            happens: |ground, name| ground.admit(name, 5).boxed(),
            ends: |ground, before| ended(ground, before, Phase::Consumed).boxed(),
            effects: 3,
        },
        Story {
            name: "revoke",
            spec: json!({}),
            happens: |ground, name| {
                let revoked = json!({"spec": {"revoked": true}});
                ground.patch(name, revoked).map(drop).boxed()
            },
            ends: |ground, before| {
                async move {
                    ended(ground, before, Phase::Aborted).await;
                    let record = ground.record(&before.name_any());
                    assert_eq!(record.aborted, Some(Reason::Revoked));
                }
                .boxed()
            },
            effects: 4,
        },
        Story {
            name: "bar",
            spec: json!({}),
            happens: |ground, name| {
                async move {
                    ground.admit(name, 5).await;
                    let revoked = json!({"spec": {"revoked": true}});
                    ground.patch(name, revoked).await;
                }
                .boxed()
            },
            ends: |ground, before| {
                async move {
                    ended(ground, before, Phase::Consumed).await;
                    let name = before.name_any();
                    ground.wait_for(&name, "Ready", "True", "Revoked").await;
                    let admission = ground.record(&name).admission.unwrap();
                    assert!(admission.barred.is_some());
                }
                .boxed()
            },
            effects: 4,
        },
        Story {
            name: "delete",
            spec: json!({}),
            happens: |ground, name| ground.delete(name).boxed(),
            ends: |ground, before| {
                async move {
                    ground.wait_gone(before).await;
                    let record = ground.record(&before.name_any());
                    assert_eq!(record.phase, StorePhase::Aborted);
                    assert_eq!(record.aborted, Some(Reason::Deleted));
                }
                .boxed()
            },
            effects: 2,
        },
        Story {
            name: "delete-used",
            spec: json!({}),
            happens: |ground, name| {
                async move {
                    ground.admit(name, 5).await;
                    ground.delete(name).await;
                }
                .boxed()
            },
            ends: |ground, before| {
                async move {
                    ground.wait_gone(before).await;
                    let record = ground.record(&before.name_any());
                    assert_eq!(record.phase, StorePhase::Consumed);
                    assert_eq!(record.admission.unwrap().barred, None);
                }
                .boxed()
            },
            effects: 1,
        },
        Story {
            name: "re-create",
            spec: json!({}),
            happens: |ground, name| {
                async move {
                    ground.admit(name, 5).await;
                    ground.recreate(name, json!({})).await;
                }
                .boxed()
            },
            ends: |ground, before| {
                async move {
                    let name = before.name_any();
                    let adopted = ground
                        .wait_for(&name, "Adopted", "True", "AdoptedConsumed")
                        .await;
                    assert_eq!(condition(&adopted, "Succeeded").unwrap().0, "True");
                    assert_eq!(ground.entry(&name).unwrap().reissue, 0);
                    ground.wait_secret_gone(&format!("{name}-join-token")).await;
                }
                .boxed()
            },
            effects: 1,
        },
        Story {
            name: "re-create-live",
            spec: json!({}),
            happens: |ground, name| ground.recreate(name, json!({})).boxed(),
            ends: |ground, before| {
                async move {
                    let name = before.name_any();
                    let adopted = ground
                        .wait(&name, "adopted, with finalizer", |resource, _| {
                            condition(resource, "Adopted").is_some()
                                && !resource.finalizers().is_empty()
                        })
                        .await;
                    let token_id = before.status.clone().unwrap().token_id;
                    assert_eq!(adopted.status.unwrap().token_id, token_id);
                    let verified = ground.verified_token(&name).await;
                    assert_eq!(Some(verified.token_id.to_string()), token_id);
                }
                .boxed()
            },
            effects: 3,
        },
        Story {
            name: "re-issue",
            spec: json!({"ttlSeconds": 60, "reissuePolicy": "WhenUnused"}),
            happens: |ground, _| ground.pass(11 * MINUTE_MS).boxed(),
            ends: |ground, before| issued(ground, before, 1, 1).boxed(),
            effects: 4,
        },
        Story {
            name: "revision",
            spec: json!({}),
            happens: |ground, name| {
                let next =
                    json!({"spec": {"revision": 2, "secretName": format!("{name}-2-join-token")}});
                ground.patch(name, next).map(drop).boxed()
            },
            ends: |ground, before| {
                async move {
                    let name = before.name_any();
                    ground
                        .wait(&name, "revision 2", |_, status| {
                            status.revision == Some(2) && status.phase == Some(Phase::Issued)
                        })
                        .await;
                    ground.wait_secret_gone(&format!("{name}-join-token")).await;
                    let secrets = ground.secrets();
                    let there = secrets.get(&format!("{name}-2-join-token")).await;
                    assert!(there.is_ok(), "{name}");
                }
                .boxed()
            },
            effects: 4,
        },
    ]
}

async fn tell(story: Story) {
    let ground = Ground::new(story.name).await;
    let mut n = 0;
    loop {
        let name = format!("n{n}");
        ground.create(&name, story.spec.clone()).await;
        let operator = ground.operator();
        let before = ground
            .wait(&name, "issued, with finalizer", |resource, status| {
                status.phase == Some(Phase::Issued) && !resource.finalizers().is_empty()
            })
            .await;
        operator.stop().await;
        (story.happens)(&ground, &name).await;
        let (operators, ()) = play(&ground, n, None, (story.ends)(&ground, &before)).await;
        // It must not take effects from the next.
        ground.discard(&name).await;
        if operators == 1 {
            break;
        }
        n += 1;
        assert!(
            n < 20,
            "{} takes more effects than anybody thought",
            story.name
        );
    }
    assert!(n >= story.effects, "{}: only {n}", story.name);
    ground.remove().await;
}

#[tokio::test]
async fn every_story_goes_on_after_a_stop_at_any_effect() {
    futures::future::join_all(stories().into_iter().map(tell)).await;
}
