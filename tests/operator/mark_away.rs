//! A mark that cannot be written, and a status that tells of more than there ever was.

use std::fs;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::said;
use crate::place::Place;
use crate::program::Machine;
use crate::replicas::Replicas;
use crate::rights::{deployed, remove, rights, until_it_may_list};
use crate::server::{Server, wait_until};
use crate::standalone::{Standalone, create};

const NOT_KEPT: &str = "how far the log has been is not remembered outside of the data folder";
const KEPT_AGAIN: &str = "how far the log has been is remembered outside of the data folder again";

fn is_in_order(server: &Server, in_order: u8) -> bool {
    let line = format!("\njointoken_mark_in_order {in_order}\n");
    (server.get("/metrics")).is_some_and(|(_, text)| text.contains(&line))
}

#[tokio::test]
async fn without_the_right_to_write_the_mark_everything_else_goes_on_and_it_is_said() {
    let place = Place::new("mark-denied").await;
    let all = rights(&place.system.namespace);
    let mut less = all.clone();
    let mut taken = 0;
    for object in less["items"].as_array_mut().unwrap() {
        let Some(rules) = object["rules"].as_array_mut() else {
            continue;
        };
        let before = rules.len();
        rules.retain(|rule| rule["resourceNames"] != json!(["jointoken-founding"]));
        taken += before - rules.len();
    }
    assert_eq!(taken, 1);
    let apply = |what: String| {
        let applied = place.system.kubectl(&["apply", "-f", "-"], &what);
        assert!(applied.status.success(), "{}", said(&applied));
    };
    apply(less.to_string());
    until_it_may_list(&place);

    let operator = deployed(&place).start();
    operator.wait_for_log(NOT_KEPT);
    assert!(operator.log().contains("see deploy/rbac.yaml"));
    assert!(wait_until(|| is_in_order(&operator, 0)));
    let token = place.issue("edge-1", json!({})).await;
    Machine::new().join(&token).ok();
    place.wait_for_phase("edge-1", "Consumed").await;

    apply(all.to_string());
    operator.wait_for_log(KEPT_AGAIN);
    assert!(wait_until(|| is_in_order(&operator, 1)));
    let said = |line: &&str| line.contains(NOT_KEPT);
    assert_eq!(operator.log().lines().filter(said).count(), 1);
    assert!(operator.terminate().0.success());
    remove(&place, &all.to_string());
    place.remove().await;
}

/// Who deletes it, or puts another store's there, is told so, though nothing was to be written.
#[tokio::test]
async fn a_founding_object_that_goes_or_is_another_stores_is_told_until_it_is_back() {
    let place = Place::new("mark-gone").await;
    let operator = place.start();
    let object = "configmap/jointoken-founding";
    let kubectl = |args: &[&str], input: &str| {
        let ran = place.system.kubectl(args, input);
        assert!(ran.status.success(), "{}", said(&ran));
        String::from_utf8(ran.stdout).unwrap()
    };
    let shown = kubectl(&["get", object, "-o", "json"], "");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let mut ours = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "jointoken-founding"}, "data": shown["data"],
    });
    let as_it_was = ours.to_string();
    assert!(is_in_order(&operator, 1));

    kubectl(&["delete", object], "");
    operator.wait_for_log(NOT_KEPT);
    operator.wait_for_log("jointoken-founding is missing");
    assert!(wait_until(|| is_in_order(&operator, 0)));
    // Further than ours: that is no copy of this store that was gone on with.
    ours["data"]["store-id"] = json!("ab".repeat(16));
    ours["data"]["reached"] = json!("9.00000000000000ab.999999");
    kubectl(&["create", "-f", "-"], &ours.to_string());
    operator.wait_for_log("ab".repeat(16).as_str());
    assert!(!operator.log().contains("deploy/rbac.yaml"));
    assert!(is_in_order(&operator, 0));

    kubectl(&["delete", object], "");
    kubectl(&["create", "-f", "-"], &as_it_was);
    operator.wait_for_log(KEPT_AGAIN);
    operator.wait_for_log("the keys are in order again");
    assert!(wait_until(|| is_in_order(&operator, 1)));
    assert!(operator.terminate().0.success());
    place.remove().await;
}

#[test]
fn without_the_folder_of_the_keys_the_mark_is_not_kept_and_nothing_else_is_held_up() {
    let place = Standalone::new();
    let server = place
        .setup_with(&format!("keysDir: {}\n", place.path("keys").display()))
        .start();
    let key = place.export("edge-*", "1h");
    let file = place.path("keys/reached");
    assert!(wait_until(|| file.is_file()));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let token = create(&key, "edge-1");
    Machine::new().join(&token).ok();
    server.wait_for_log(NOT_KEPT);
    let log = server.log();
    assert!(
        log.contains("in keysDir") && !log.contains("ConfigMap"),
        "{log}"
    );
    assert!(wait_until(|| is_in_order(&server, 0)));
    Machine::new().join(&create(&key, "edge-2")).ok();
    fs::remove_dir(&file).unwrap();
    server.wait_for_log(KEPT_AGAIN);
    assert!(is_in_order(&server, 1) && file.is_file());
    assert!(server.terminate().0.success());
}

/// Its own word keeps nobody from voting, and everybody from campaigning: with nobody to follow they end and say what to do.
#[tokio::test]
async fn a_group_that_a_status_alone_keeps_from_leading_says_so_and_ends() {
    let mut group = Replicas::of_three("status-ahead-all").await;
    let token = group.place.issue("edited", json!({})).await;
    let used = group.place.issue("used", json!({})).await;
    Machine::new().join(&used).ok();
    group.place.wait_for_phase("used", "Consumed").await;
    for ordinal in 0..3 {
        assert!(group.take(ordinal).terminate().0.success());
    }
    let edited = Patch::Merge(json!({ "status": { "storeIndex": 1_000_000 } }));
    let params = PatchParams::default();
    let resources = group.place.resources();
    resources
        .patch_status("edited", &params, &edited)
        .await
        .unwrap();
    (0..3).for_each(|ordinal| group.start(ordinal));
    // The first one that was stopped may lack what the others have done since, and wait for them.
    for ordinal in [1, 2] {
        let says = [
            "none of it leads",
            "somebody has edited what tells that: delete the JoinTokens",
        ];
        group.take(ordinal).end().fails(1, &says);
    }
    group.kill(0);

    let deleted =
        (group.place.tokens).kubectl(&["delete", "jointoken", "edited", "--wait=false"], "");
    assert!(deleted.status.success(), "{}", said(&deleted));
    (0..3).for_each(|ordinal| group.start(ordinal));
    group.until_whole(3).await;
    Machine::new().join(&used).fails(5, &["used"]);
    let late = Machine::new().join_with(&token, &["--timeout", "1s"]);
    assert_ne!(late.code, Some(0), "{late:?}");
    group.remove().await;
}
