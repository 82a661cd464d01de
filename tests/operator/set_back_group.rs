//! A group in Kubernetes that is set back with everything around it, as when its namespaces are restored with their volumes.

use std::path::PathBuf;

use serde_json::json;

use crate::copies::{Copied, With, copy_folder, set_back};
use crate::program::{Machine, text};
use crate::replicas::Replicas;
use crate::restored_cluster::{json_of, restore_into};
use crate::restored_group::{admits_once, refused_at_every_door, set_aside};
use crate::set_back::{annotate, is_refused};

/// None of them starts, however often it is tried. What the last one says.
fn none_starts(group: &Replicas) -> String {
    let mut said = String::new();
    for ordinal in [0, 1, 2, 0, 1, 2] {
        let says = ["is another object", "jointoken-founding", "store recover"];
        said = is_refused(&group.setup(ordinal), &group.data(ordinal), &says);
    }
    said
}

#[tokio::test]
async fn a_group_that_is_set_back_with_keys_object_and_join_tokens_admits_nobody_twice() {
    let mut group = Replicas::of_three("set-back-with-all").await;
    let mut tokens = Vec::new();
    for name in ["a", "b", "unused"] {
        tokens.push(group.place.issue(name, json!({})).await);
    }
    let folders = |name: &str| -> [PathBuf; 3] {
        [0, 1, 2].map(|ordinal| group.place.path(&format!("{name}-{ordinal}")))
    };
    let (copies, currents) = (folders("copy"), folders("current"));
    for (ordinal, copy) in copies.iter().enumerate() {
        assert!(group.take(ordinal).terminate().0.success());
        copy_folder(&group.data(ordinal), copy);
    }
    let copied = Copied::of(&group.place).await;
    (0..3).for_each(|ordinal| group.start(ordinal));
    group.until_whole(3).await;
    for (name, token) in ["a", "b"].iter().zip(&tokens) {
        Machine::new().join(token).ok();
        group.place.wait_for_phase(name, "Consumed").await;
    }
    let late = group.place.issue("late", json!({})).await;
    Machine::new().join(&late).ok();
    group.place.wait_for_phase("late", "Consumed").await;
    tokens.push(late);
    for (ordinal, current) in currents.iter().enumerate() {
        assert!(group.take(ordinal).terminate().0.success());
        copy_folder(&group.data(ordinal), current);
    }

    // With and without the statuses of the JoinTokens.
    for with in [With::Everything, With::EverythingButStatuses] {
        eprintln!("{with:?}");
        with.set_back(&group.place, &copied).await;
        for (ordinal, copy) in copies.iter().enumerate() {
            set_back(&group.data(ordinal), copy);
        }
        none_starts(&group);
    }

    // The volumes are those in use last after all, and to say so once is enough for all three.
    for (ordinal, current) in currents.iter().enumerate() {
        set_back(&group.data(ordinal), current);
    }
    let line = none_starts(&group);
    annotate(&group.place, &line).await;
    (0..3).for_each(|ordinal| group.start(ordinal));
    group.until_whole(3).await;
    for ordinal in 0..3 {
        let door = group.door_url(ordinal);
        for used in [&tokens[0], &tokens[1], &tokens[3]] {
            let late = Machine::new().join_with(used, &["--url", &door]);
            late.fails(5, &["used"]);
        }
    }
    group.place.wait_for_phase("unused", "Issued").await;
    for ordinal in 0..3 {
        assert!(group.take(ordinal).terminate().0.success());
    }

    // They are lost, and a new store is made of one of the copies.
    With::Everything.set_back(&group.place, &copied).await;
    for (ordinal, copy) in copies.iter().enumerate() {
        set_back(&group.data(ordinal), copy);
    }
    none_starts(&group);
    let aside = set_aside(&group, 1);
    let what = ["store", "recover", text(&aside)];
    let yes = ["--yes", "--output", "json"];
    let recovered = restore_into(&group.data(1), &group.place, &what, &yes);
    assert_eq!(json_of(recovered)["epoch"], 2);
    for ordinal in [0, 2] {
        group.wipe(ordinal);
    }
    (0..3).for_each(|ordinal| group.start(ordinal));
    group.until_whole(3).await;
    for name in ["a", "b", "unused", "late"] {
        let place = &group.place;
        place.wait_for(name, "Ready", "False", "Restored").await;
    }
    refused_at_every_door(&group, &tokens.iter().collect::<Vec<_>>());
    group.place.patch("a", json!({"revision": 2})).await;
    group.place.wait_for_phase("a", "Issued").await;
    admits_once(&group, "a", 2).await;
    group.remove().await;
}
