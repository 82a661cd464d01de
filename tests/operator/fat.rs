//! JoinTokens as large as the API server takes them: whoever may create some in one namespace must not be able to use up the
//! memory of every replica.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use jointoken::api::JoinToken;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::place::Place;
use crate::server::{Server, wait_until};

/// With what the API server adds, an object has 1.3 MB in so many labels.
const LABELS: usize = 8_500;
const OBJECT_KIB: usize = 1_300;
/// So many are watched and not served, since to issue one takes the API server a second; `JOINTOKEN_TEST_FAT_OBJECTS` says otherwise.
const WATCHED: usize = 60;
/// So many are served.
const SERVED: usize = 4;

fn fat(name: &str, spec: &Value) -> JoinToken {
    let label = |at| (format!("example.org/label-{at:020}"), "v".repeat(63));
    let labels: BTreeMap<String, String> = (0..LABELS).map(label).collect();
    let resource = json!({
        "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
        "metadata": { "name": name, "labels": labels, "finalizers": ["example.org/a", "example.org/b"] },
        "spec": spec,
    });
    serde_json::from_value(resource).unwrap()
}

/// What a process has in memory and had at most, in KiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    now: usize,
    peak: usize,
}

fn memory(of: &Server) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{}/status", of.pid())).unwrap();
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let mut words = line.expect(name).split_whitespace();
        words.nth(1).unwrap().parse().unwrap()
    };
    Memory {
        now: kib("VmRSS:"),
        peak: kib("VmHWM:"),
    }
}

/// Waits until so many are issued, and measures then.
fn with_issued(operator: &Server, count: usize) -> Memory {
    let line = format!("jointoken_controller_resources{{phase=\"Issued\"}} {count}\n");
    let issued = wait_until(|| {
        let answer = operator.get("/metrics");
        answer.is_some_and(|(_, text)| text.contains(&line))
    });
    assert!(issued, "they were not issued");
    memory(operator)
}

/// Creates so many that are not served, and some that are.
async fn create(place: &Place, count: usize) {
    let api = place.resources();
    let all = stream::iter(0..SERVED + count).map(Ok);
    let created = all.try_for_each_concurrent(4, |at| {
        let api = api.clone();
        async move {
            let spec = match at < SERVED {
                true => json!({}),
                false => json!({ "className": "other" }),
            };
            let fat = fat(&format!("fat-{at}"), &spec);
            api.create(&PostParams::default(), &fat).await.map(drop)
        }
    });
    created.await.expect("creating them");
}

#[tokio::test]
async fn large_resources_take_little_memory() {
    let count = std::env::var("JOINTOKEN_TEST_FAT_OBJECTS");
    let count = count.map_or(WATCHED, |count| count.parse().unwrap());
    let place = Place::new("fat").await;
    place.create("thin", json!({})).await;
    let operator = place.start();
    let before = with_issued(&operator, 1);
    assert!(operator.terminate().0.success());

    create(&place, count).await;
    let operator = place.start();
    let first = with_issued(&operator, SERVED + 1);
    assert!(operator.terminate().0.success());
    let operator = place.start();
    let again = with_issued(&operator, SERVED + 1);
    println!(
        "KiB: without {before:?}, with {count} of {OBJECT_KIB} KiB {first:?}, restarted {again:?}"
    );
    assert!(operator.terminate().0.success());

    // A page of a list, again while it is put together, and what the allocator keeps.
    let page = OBJECT_KIB * usize::try_from(jointoken::controller::PAGE).unwrap();
    for with in [first, again] {
        assert!(with.now.saturating_sub(before.now) < 6 * page);
        assert!(with.peak - before.peak < 6 * page);
    }
    place.remove().await;
}
