use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::bootstrap::{Answered, Class, DoorObserver, Limit, Route};
use crate::clock::ManualClock;
use crate::lifecycle::command::Sweep;
use crate::store::reference::InMemoryStore;
use crate::store::{StoreError, TokenStore, submit};

/// Every line of the text format is a comment of a known kind or `name{labels} value`; the last is `# EOF`.
fn samples(text: &str) -> Vec<(String, f64)> {
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    lines
        .into_iter()
        .filter_map(|line| {
            if let Some(comment) = line.strip_prefix("# ") {
                let keyword = comment.split(' ').next().unwrap();
                assert!(["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
                return None;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("jointoken_"), "{line}");
            Some((name.to_owned(), value.parse().unwrap()))
        })
        .collect()
}

fn value(text: &str, name: &str) -> f64 {
    let samples = samples(text);
    let found: Vec<_> = samples.iter().filter(|(n, _)| n == name).collect();
    assert_eq!(found.len(), 1, "{name} in\n{text}");
    found[0].1
}

#[test]
fn a_scrape_shows_the_store_as_it_is_now() {
    let (sender, receiver) = watch::channel(Health::default());
    let metrics = Metrics::new(receiver);
    let text = metrics.encode().unwrap();
    assert_eq!(value(&text, "jointoken_store_leader"), 0.0);
    let build = format!(
        "jointoken_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(value(&text, &build), 1.0);

    sender.send_replace(Health {
        suspended: false,
        cut_off: false,
        stalled: false,
        incomplete: false,
        newcomer: false,
        is_leader: true,
        leader_known: true,
        applied_index: 41,
        committed_index: 42,
        fatal: None,
    });
    let text = metrics.encode().unwrap();
    assert_eq!(value(&text, "jointoken_store_leader"), 1.0);
    assert_eq!(value(&text, "jointoken_store_leader_known"), 1.0);
    assert_eq!(value(&text, "jointoken_store_ready"), 1.0);
    assert_eq!(value(&text, "jointoken_store_applied_index"), 41.0);
    assert_eq!(value(&text, "jointoken_store_committed_index"), 42.0);

    // Whatever else is well.
    assert_eq!(value(&text, "jointoken_store_incomplete"), 0.0);
    sender.send_modify(|health| (health.stalled, health.incomplete) = (true, true));
    let text = metrics.encode().unwrap();
    assert_eq!(value(&text, "jointoken_store_incomplete"), 1.0);
    assert_eq!(value(&text, "jointoken_store_ready"), 0.0);
}

#[test]
fn reconciliations_are_counted_by_their_end_and_errors_by_category() {
    let metrics = Metrics::new(watch::channel(Health::default()).1);
    let controller = metrics.controller.clone();
    controller.reconciled(Reconciled::Done, Duration::from_millis(3));
    controller.reconciled(Reconciled::Done, Duration::from_millis(5));
    controller.reconciled(Reconciled::Failed, Duration::from_millis(7));
    controller.failed("secret");
    controller.effected("patch_status");
    let text = metrics.encode().unwrap();
    let of = |name: &str| value(&text, &format!("jointoken_controller_{name}"));
    assert_eq!(of("reconciles_total{result=\"done\"}"), 2.0);
    assert_eq!(of("reconciles_total{result=\"failed\"}"), 1.0);
    assert_eq!(of("errors_total{category=\"secret\"}"), 1.0);
    assert_eq!(of("effects_total{effect=\"patch_status\"}"), 1.0);
    assert_eq!(of("reconcile_duration_seconds_count"), 3.0);
}

#[test]
fn resources_are_counted_when_somebody_asks_over_all_watches() {
    let metrics = Metrics::new(watch::channel(Health::default()).1);
    let counted = |phases: &[(&'static str, i64)], foreign| {
        let phases = phases.iter().copied().collect();
        move || Counted {
            phases: BTreeMap::clone(&phases),
            foreign,
        }
    };
    let first = counted(&[("Issued", 2), ("Consumed", 1)], 3);
    metrics.controller.count_resources_by(first);
    let second = counted(&[("Issued", 3)], 1);
    metrics.controller.count_resources_by(second);
    let text = metrics.encode().unwrap();
    let of = |phase: &str| {
        let name = format!("jointoken_controller_resources{{phase=\"{phase}\"}}");
        value(&text, &name)
    };
    assert_eq!((of("Issued"), of("Consumed")), (5.0, 1.0));
    let foreign = value(&text, "jointoken_controller_foreign_resources");
    assert_eq!(foreign, 4.0);
}

#[tokio::test]
async fn proposals_are_counted_by_what_became_of_them() {
    let clock = Arc::new(ManualClock::new(1));
    let inner = Arc::new(InMemoryStore::new(clock));
    let metrics = Metrics::new(inner.health());
    let store = MeteredStore::new(inner.clone(), &metrics);
    submit(&store, Sweep { limit: 1 }).await.unwrap();
    inner.set_leader(false);
    let lost = submit(&store, Sweep { limit: 1 }).await;
    assert_eq!(lost, Err(StoreError::NoLeader));
    let text = metrics.encode().unwrap();
    let of = |result: &str| {
        let labels = format!("{{operation=\"sweep\",result=\"{result}\"}}");
        value(&text, &format!("jointoken_store_proposals_total{labels}"))
    };
    assert_eq!((of("committed"), of("no_leader")), (1.0, 1.0));
    // Only what was committed took its time.
    assert_eq!(
        value(&text, "jointoken_store_commit_duration_seconds_count"),
        1.0
    );
}

#[test]
fn the_doors_requests_are_counted_by_class() {
    let metrics = Metrics::new(watch::channel(Health::default()).1);
    let answered = |class| {
        metrics.door.answered(&Answered {
            route: Route::Join,
            class,
            code: None,
            token_id: None,
            joiner: None,
            duration: Duration::from_millis(2),
        });
    };
    answered(Class::Admitted);
    answered(Class::Admitted);
    answered(Class::Unproven);
    metrics.door.handshake_failed([192, 0, 2, 7].into());
    metrics.door.turned_away([192, 0, 2, 7].into());
    metrics.door.limit_reached(Limit::RequestRate);
    let text = metrics.encode().unwrap();
    let of = |class: &str| {
        let labels = format!("{{route=\"join\",class=\"{class}\"}}");
        value(&text, &format!("jointoken_door_requests_total{labels}"))
    };
    assert_eq!((of("admitted"), of("unproven")), (2.0, 1.0));
    assert_eq!(
        value(&text, "jointoken_door_request_duration_seconds_count"),
        3.0
    );
    assert_eq!(value(&text, "jointoken_door_failed_handshakes_total"), 1.0);
    assert_eq!(
        value(&text, "jointoken_door_turned_away_connections_total"),
        1.0
    );
    assert_eq!(
        value(
            &text,
            "jointoken_door_limits_reached_total{limit=\"request_rate\"}"
        ),
        1.0
    );
    // Whoever knocks chooses his address: it is no label.
    assert!(!text.contains("192.0.2.7"), "{text}");
}
