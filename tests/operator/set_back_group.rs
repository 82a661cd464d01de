//! A group in Kubernetes that is set back with what is around it, as when its namespaces are restored with their volumes.

use std::path::PathBuf;

use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use crate::copies::{Copied, OBJECT, With, copy_folder, objects, set_back};
use crate::program::{Machine, text};
use crate::replicas::Replicas;
use crate::restored_cluster::{json_of, restore_into};
use crate::restored_group::{admits_once, refused_at_every_door, set_aside};
use crate::set_back::{annotate, is_refused};

/// Three that are stopped, and what is put back.
struct Stopped {
    group: Replicas,
    /// Of `a` and `b`, which were used after the copies were made, of `unused`, and of `late`, which the copies do not know.
    tokens: Vec<String>,
    copies: [PathBuf; 3],
    copied: Copied,
}

impl Stopped {
    async fn new(test: &str) -> Self {
        let mut group = Replicas::of_three(test).await;
        let mut tokens = Vec::new();
        for name in ["a", "b", "unused"] {
            tokens.push(group.place.issue(name, json!({})).await);
        }
        // At once, so that each has all that the mark tells of.
        (0..3).for_each(|ordinal| group.kill(ordinal));
        let copies = copy(&group, "copy");
        let copied = Copied::of(&group.place).await;
        start(&mut group).await;
        for (name, token) in ["a", "b"].iter().zip(&tokens) {
            Machine::new().join(token).ok();
            group.place.wait_for_phase(name, "Consumed").await;
        }
        let late = group.place.issue("late", json!({})).await;
        Machine::new().join(&late).ok();
        group.place.wait_for_phase("late", "Consumed").await;
        tokens.push(late);
        stop(&mut group, "current");
        Self {
            group,
            tokens,
            copies,
            copied,
        }
    }

    /// The volumes and this.
    async fn set_back(&self, with: With) {
        eprintln!("{with:?}");
        with.set_back(&self.group.place, &self.copied).await;
        for (ordinal, copy) in self.copies.iter().enumerate() {
            set_back(&self.group.data(ordinal), copy);
        }
    }

    /// They are started with what says enough, and are stopped. Where the folders are copied to.
    async fn goes_on(&mut self, name: &str) -> [PathBuf; 3] {
        start(&mut self.group).await;
        for ordinal in 0..3 {
            let door = self.group.door_url(ordinal);
            for used in [0, 1, 3].map(|which| &self.tokens[which]) {
                let late = Machine::new().join_with(used, &["--url", &door]);
                late.fails(5, &["used"]);
            }
        }
        self.group.place.wait_for_phase("unused", "Issued").await;
        stop(&mut self.group, name)
    }

    /// The volumes in use last are lost, and a new store is made of one of the copies.
    async fn recover(mut self) {
        let group = &mut self.group;
        let aside = set_aside(group, 1);
        let what = ["store", "recover", text(&aside)];
        let yes = ["--yes", "--output", "json"];
        let recovered = restore_into(&group.data(1), &group.place, &what, &yes);
        assert_eq!(json_of(recovered)["epoch"], 2);
        for ordinal in [0, 2] {
            group.wipe(ordinal);
        }
        start(group).await;
        for name in ["a", "b", "unused", "late"] {
            let place = &group.place;
            place.wait_for(name, "Ready", "False", "Restored").await;
        }
        refused_at_every_door(group, &self.tokens.iter().collect::<Vec<_>>());
        group.place.patch("a", json!({"revision": 2})).await;
        group.place.wait_for_phase("a", "Issued").await;
        admits_once(group, "a", 2).await;
        self.group.remove().await;
    }
}

async fn start(group: &mut Replicas) {
    (0..3).for_each(|ordinal| group.start(ordinal));
    group.until_whole(3).await;
}

/// All of them. Where their folders are copied to.
fn stop(group: &mut Replicas, name: &str) -> [PathBuf; 3] {
    for ordinal in 0..3 {
        assert!(group.take(ordinal).terminate().0.success());
    }
    copy(group, name)
}

fn copy(group: &Replicas, name: &str) -> [PathBuf; 3] {
    [0, 1, 2].map(|ordinal| {
        let copy = group.place.path(&format!("{name}-{ordinal}"));
        copy_folder(&group.data(ordinal), &copy);
        copy
    })
}

/// None of them starts, however often it is tried. What the last one says.
fn none_starts(group: &Replicas) -> String {
    let mut said = String::new();
    for ordinal in [0, 1, 2, 0, 1, 2] {
        let says = ["is another object", OBJECT, "store recover"];
        said = is_refused(&group.setup(ordinal), &group.data(ordinal), &says);
    }
    said
}

/// All run, and this tells that they were set back: nobody leads or admits.
async fn none_leads(group: &mut Replicas, token: &str, witness: &str) {
    (0..3).for_each(|ordinal| group.start(ordinal));
    for ordinal in 0..3 {
        let server = group.server(ordinal);
        server.wait_for_log("does not campaign");
        let log = server.log();
        let warning = log.lines().find(|line| line.contains("does not campaign"));
        let warning = warning.unwrap();
        assert!(warning.contains(witness), "{warning}");
    }
    let is_incomplete = async |group: &Replicas| {
        for ordinal in 0..3 {
            let Some(seen) = group.members(ordinal).await else {
                return false;
            };
            let mut own = seen.members.iter().filter(|of| of.is_asked);
            if !own.any(|of| of.health == "incomplete") {
                return false;
            }
        }
        true
    };
    group.until("all are incomplete", is_incomplete).await;
    // For longer than an election takes.
    for ordinal in 0..3 {
        let door = group.door_url(ordinal);
        let late = Machine::new().join_with(token, &["--url", &door, "--timeout", "1s"]);
        assert_ne!(late.code, Some(0), "{late:?}");
    }
    for ordinal in 0..3 {
        let (code, says) = group.server(ordinal).get("/readyz").unwrap();
        assert_eq!(code, 503, "{says}");
        assert!(says.contains("lacks entries that were committed"), "{says}");
        let seen = group.members(ordinal).await.unwrap().members;
        // Of another it is told who led before.
        let leads = seen.iter().any(|of| of.is_asked && of.role == "leader");
        assert!(!leads, "{seen:?}");
    }
}

/// The versions of all that a leader would write to.
async fn versions(group: &Replicas) -> Vec<(String, Option<String>)> {
    let place = &group.place;
    let all = ListParams::default();
    let mut found = Vec::new();
    for secrets in [place.keys(), place.secrets()] {
        for secret in secrets.list(&all).await.unwrap() {
            found.push((secret.name_any(), secret.resource_version()));
        }
    }
    for token in place.resources().list(&all).await.unwrap() {
        found.push((token.name_any(), token.resource_version()));
    }
    let object = objects(place).get(OBJECT).await.unwrap();
    found.push((object.name_any(), object.resource_version()));
    found
}

#[tokio::test]
async fn a_group_that_is_set_back_with_keys_object_and_join_tokens_admits_nobody_twice() {
    let mut all = Stopped::new("set-back-with-all").await;
    // With and without the statuses of the JoinTokens.
    for with in [With::Everything, With::EverythingButStatuses] {
        all.set_back(with).await;
        none_starts(&all.group);
    }

    // The volumes are those in use last after all, and to say so once is enough for all three.
    for ordinal in 0..3 {
        let current = all.group.place.path(&format!("current-{ordinal}"));
        set_back(&all.group.data(ordinal), &current);
    }
    let line = none_starts(&all.group);
    annotate(&all.group.place, &line).await;
    all.goes_on("told").await;

    all.set_back(With::Everything).await;
    none_starts(&all.group);
    all.recover().await;
}

/// The volumes with the keys, of which the mark tells, and with the mark in the same object, of which the statuses tell.
#[tokio::test]
async fn a_group_that_is_set_back_with_keys_or_mark_has_no_leader_until_one_is_current() {
    let mut all = Stopped::new("set-back-with-some").await;
    let current = all.group.place.path("current-1");
    let mark = format!("ConfigMap {}/{OBJECT}", all.group.place.system.namespace);
    all.set_back(With::Keys).await;
    let before = versions(&all.group).await;
    none_leads(&mut all.group, &all.tokens[0], &mark).await;
    assert_eq!(versions(&all.group).await, before);
    (0..3).for_each(|ordinal| all.group.kill(ordinal));
    set_back(&all.group.data(1), &current);
    let [_, _, current] = all.goes_on("once-more").await;

    let status = format!(
        "the status of JoinToken {}/",
        all.group.place.tokens.namespace
    );
    all.set_back(With::Object).await;
    let before = versions(&all.group).await;
    none_leads(&mut all.group, &all.tokens[0], &status).await;
    // They do not wait for ever, and say it all once more.
    for ordinal in 0..3 {
        let says = [
            "its log ends before an entry that was committed",
            &status,
            "mount the volume that was in use last",
            "`jointoken store recover`",
            "delete the JoinToken",
        ];
        all.group.take(ordinal).end().fails(1, &says);
    }
    assert_eq!(versions(&all.group).await, before);
    set_back(&all.group.data(2), &current);
    all.goes_on("twice-more").await;

    all.set_back(With::Object).await;
    all.recover().await;
}

#[tokio::test]
async fn a_group_that_was_set_back_elects_nobody_and_one_current_replica_leads_it() {
    let mut group = Replicas::of_three("set-back-all").await;
    let mut tokens = Vec::new();
    for name in ["a", "b", "c"] {
        tokens.push(group.place.issue(name, json!({})).await);
    }
    (0..3).for_each(|ordinal| group.kill(ordinal));
    let copies = copy(&group, "copy");
    start(&mut group).await;
    for (name, token) in ["a", "b", "c"].iter().zip(&tokens) {
        Machine::new().join(token).ok();
        group.place.wait_for_phase(name, "Consumed").await;
    }
    let late = group.place.issue("late", json!({})).await;
    Machine::new().join(&late).ok();
    group.place.wait_for_phase("late", "Consumed").await;
    tokens.push(late);
    let currents = stop(&mut group, "current");
    for (ordinal, copy) in copies.iter().enumerate() {
        set_back(&group.data(ordinal), copy);
    }

    (0..3).for_each(|ordinal| group.start(ordinal));
    for ordinal in 0..3 {
        group.server(ordinal).wait_for_log("does not campaign");
        let says = "all that are there were set back";
        group.server(ordinal).wait_for_log(says);
        assert!(group.answers(ordinal, "/readyz", 503));
        let door = group.door_url(ordinal);
        let late = Machine::new().join_with(&tokens[0], &["--url", &door, "--timeout", "1s"]);
        assert_ne!(late.code, Some(0), "{late:?}");
    }

    // A majority of them: the one that is current leads.
    group.kill(2);
    set_back(&group.data(2), &currents[2]);
    group.start(2);
    group.until_whole(3).await;
    // One of them.
    let leader = group.leader().await;
    let one = (leader + 1) % 3;
    group.kill(one);
    set_back(&group.data(one), &copies[one]);
    group.start(one);
    // Who led when it was set back sends again what it had acknowledged.
    let lacks = "a replica lacks entries which it had acknowledged";
    group.server(leader).wait_for_log(lacks);
    group.until_whole(3).await;
    for token in &tokens {
        for ordinal in 0..3 {
            let door = group.door_url(ordinal);
            let late = Machine::new().join_with(token, &["--url", &door]);
            late.fails(5, &["used"]);
        }
    }
    group.remove().await;
}
