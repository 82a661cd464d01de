//! A namespace that is cloned into another one, with its volume. The store lives on in the first.

use kube::ResourceExt as _;
use serde_json::json;

use crate::copies::{OBJECT, copy_folder, objects};
use crate::drill::With;
use crate::place::Place;
use crate::program::{Machine, text};
use crate::restored_cluster::{json_of, restore_into};
use crate::set_back::{annotate, is_refused, set_aside};
use crate::two_stores::{beside, store_of};

const VOLUMES_ARE_CURRENT: &str = "jointoken.io/volumes-are-current";

#[tokio::test]
async fn a_cloned_namespace_is_no_second_home_of_the_store_whatever_is_said_of_its_volume() {
    let (home, clone) = (Place::new("home").await, Place::new("cloned").await);
    let operator = home.start();
    let used = home.issue("used", json!({})).await;
    let live = home.issue("live", json!({})).await;
    let store = store_of(&home, "live").await;
    assert!(operator.terminate().0.success());
    copy_folder(&home.data(), &clone.data());
    With::KeysAndMark.put(&home, &clone).await;
    let operator = home.start();
    Machine::new().join(&used).ok();
    home.wait_for_phase("used", "Consumed").await;

    let setup = beside(&home, &clone, &[]);
    let original = format!("ConfigMap {}/{OBJECT}", home.system.namespace);
    let says = [
        &format!("is a copy of {original}"),
        &format!("--system-namespace {}", clone.system.namespace),
        &format!("--take-over {store}"),
        "`jointoken store recover`",
    ];
    let refused = || {
        let line = is_refused(&setup, &clone.data(), &says);
        assert!(!line.contains(VOLUMES_ARE_CURRENT), "{line}");
    };
    refused();
    let uid = objects(&clone).get(OBJECT).await.unwrap().uid().unwrap();
    annotate(&clone, &format!("--overwrite {VOLUMES_ARE_CURRENT}={uid}")).await;
    refused();
    Machine::new().join(&live).ok();
    home.wait_for_phase("live", "Consumed").await;

    // It is gone for good, and what the message names is enough.
    operator.kill();
    let aside = set_aside(&clone.data());
    let what = ["store", "recover", text(&aside)];
    let more = ["--namespace", &home.tokens.namespace];
    let yes = ["--yes", "--output", "json"];
    let recovered = restore_into(&clone.data(), &clone, &what, &[&more[..], &yes].concat());
    assert_eq!(json_of(recovered)["epoch"], 2);
    let operator = beside(&home, &clone, &["--take-over", &store]).start();
    let door = format!("https://127.0.0.1:{}", clone.door_port);
    for token in [&used, &live] {
        let late = Machine::new().join_with(token, &["--url", &door]);
        late.fails(3, &["not valid here"]);
    }
    for name in ["used", "live"] {
        home.wait_for(name, "Ready", "False", "Restored").await;
    }
    home.patch("live", json!({"revision": 2})).await;
    home.wait_for_phase("live", "Issued").await;
    Machine::new().join(&home.token("live").await).ok();
    assert!(operator.terminate().0.success());
    home.remove().await;
    clone.remove().await;
}
