//! Volumes, keys, the founding object and JoinTokens that are set back to an older time: no token that was used since is
//! taken again, and what the log says to do is enough.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};

use jointoken::pki::JoinerKey;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;

use crate::copies::{Copied, OBJECT, With, copy_folder, objects, set_back};
use crate::place::Place;
use crate::program::{Machine, run, text};
use crate::raw_joiner::RawJoiner;
use crate::restored_cluster::{json_of, restore_into};
use crate::restoring::contents;
use crate::server::{Setup, wait_until};
use crate::standalone::{Standalone, create};

/// It ends by itself, says this, and leaves the folder as it is. The line.
#[track_caller]
pub fn is_refused(setup: &Setup, data: &Path, says: &[&str]) -> String {
    // Except for who had it last.
    let contents = || {
        let mut all = contents(data);
        all.retain(|path, _| !path.ends_with("lock"));
        all
    };
    let before = contents();
    let line = setup.run().fails(1, says).to_owned();
    assert!(contents() == before, "it was changed");
    line
}

/// Follows the `kubectl annotate` that this line ends with.
pub async fn annotate(place: &Place, line: &str) {
    let told = line.split("--overwrite ").nth(1).unwrap();
    let (key, uid) = told.trim().trim_matches('"').split_once('=').unwrap();
    let annotate = Patch::Merge(json!({ "metadata": { "annotations": { key: uid } } }));
    let params = PatchParams::default();
    objects(place)
        .patch(OBJECT, &params, &annotate)
        .await
        .unwrap();
}

/// The store and its identity make room for what is made of them. Where they are.
pub fn set_aside(data: &Path) -> PathBuf {
    let aside = data.join("removed-lost");
    fs::create_dir(&aside).unwrap();
    for name in ["store", "identity"] {
        fs::rename(data.join(name), aside.join(name)).unwrap();
    }
    aside
}

#[tokio::test]
async fn a_volume_that_was_set_back_is_refused_whatever_is_set_back_with_it() {
    let place = Place::new("set-back").await;
    let operator = place.start();
    let early = place.issue("early", json!({})).await;
    Machine::new().join(&early).ok();
    place.wait_for_phase("early", "Consumed").await;
    let mut used = vec![early];
    let mut issued = Vec::new();
    for name in ["used-1", "used-2", "used-3", "unused-1", "unused-2"] {
        issued.push((name, place.issue(name, json!({})).await));
    }
    assert!(operator.terminate().0.success());
    let copy = place.path("copy");
    copy_folder(&place.data(), &copy);
    let copied = Copied::of(&place).await;

    let operator = place.start();
    for (name, token) in &issued[..3] {
        Machine::new().join(token).ok();
        place.wait_for_phase(name, "Consumed").await;
        used.push(token.clone());
    }
    let late = place.issue("late", json!({})).await;
    Machine::new().join(&late).ok();
    place.wait_for_phase("late", "Consumed").await;
    used.push(late);
    assert!(operator.terminate().0.success());
    let current = place.path("current");
    copy_folder(&place.data(), &current);
    let current_object = objects(&place).get(OBJECT).await.unwrap();
    let mark = format!("ConfigMap {}/{OBJECT}", place.system.namespace);
    let status = format!("the status of JoinToken {}/", place.tokens.namespace);

    set_back(&place.data(), &copy);
    let folder = text(&place.data()).to_owned();
    let older = "was set back to an older copy";
    let recover = "`jointoken store recover`";
    for (with, says) in [
        (With::Nothing, [older, &mark, recover]),
        (With::Keys, [older, &mark, recover]),
        (With::Object, [older, &status, recover]),
        (With::ObjectMadeAnew, ["is another object", &mark, recover]),
        (
            With::ObjectAndKeysMadeAnew,
            ["is another object", &mark, recover],
        ),
        (With::Everything, ["is another object", &mark, recover]),
        (
            With::EverythingButStatuses,
            ["is another object", &mark, recover],
        ),
    ] {
        eprintln!("{with:?}");
        with.set_back(&place, &copied).await;
        // Again and again, as Kubernetes starts it: nothing is moved by that.
        for _ in 0..2 {
            is_refused(
                &place.setup(),
                &place.data(),
                &[&says[..], &[&folder]].concat(),
            );
        }
        let object = objects(&place).get(OBJECT).await.unwrap();
        if object.uid() == current_object.uid() {
            let patch = Patch::Merge(json!({ "data": current_object.data }));
            let params = PatchParams::default();
            objects(&place)
                .patch(OBJECT, &params, &patch)
                .await
                .unwrap();
        }
    }

    // Nothing but the objects was restored: the volume is the one that was in use last, and to say so is enough.
    set_back(&place.data(), &current);
    let line = is_refused(&place.setup(), &place.data(), &["volumes-are-current="]);
    annotate(&place, &line).await;
    let operator = place.start();
    for token in &used {
        Machine::new().join(token).fails(5, &["used"]);
    }
    assert!(operator.terminate().0.success());
    let reached = objects(&place).get(OBJECT).await.unwrap().data.unwrap();
    assert!(reached.contains_key("reached"), "{reached:?}");

    // It is lost, and a new store is made of the copy.
    set_back(&place.data(), &copy);
    place.setup().run().fails(1, &[older, &mark, recover]);
    let aside = set_aside(&place.data());
    let what = ["store", "recover", text(&aside)];
    let recovered = restore_into(&place.data(), &place, &what, &["--yes", "--output", "json"]);
    assert_eq!(json_of(recovered)["epoch"], 2);
    let operator = place.start();
    for token in used.iter().chain(issued.iter().map(|(_, token)| token)) {
        Machine::new().join(token).fails(3, &["not valid here"]);
    }
    let fresh = place.issue("fresh", json!({})).await;
    Machine::new().join(&fresh).ok();
    assert!(operator.terminate().0.success());
    place.remove().await;
}

#[test]
fn a_folder_whose_keys_lie_elsewhere_is_known_for_an_older_copy() {
    let place = Standalone::new();
    let more = format!("keysDir: {}\n", place.path("keys").display());
    let setup = || place.setup_with(&more);
    let server = setup().start();
    let key = place.export("edge-*", "1h");
    let tokens: BTreeMap<u8, String> = (1..=3)
        .map(|n| (n, create(&key, &format!("edge-{n}"))))
        .collect();
    Machine::new().join(&tokens[&1]).ok();
    assert!(server.terminate().0.success());
    let (copy, current) = (place.path("copy"), place.path("current"));
    copy_folder(&place.data(), &copy);
    let server = setup().start();
    Machine::new().join(&tokens[&2]).ok();
    server.kill();
    copy_folder(&place.data(), &current);

    set_back(&place.data(), &copy);
    let file = place.path("keys/reached");
    for _ in 0..2 {
        let says = [
            "was set back to an older copy",
            text(&file),
            "store recover",
        ];
        is_refused(&setup(), &place.data(), &says);
    }
    set_back(&place.data(), &current);
    let server = setup().start();
    for n in [1, 2] {
        Machine::new().join(&tokens[&n]).fails(5, &["used"]);
    }
    assert!(server.terminate().0.success());

    // It is lost, and a new store is made of the copy.
    set_back(&place.data(), &copy);
    let aside = set_aside(&place.data());
    let keys = place.path("keys");
    let what = ["store", "recover", text(&aside), "--yes"];
    let data = place.data();
    let places = ["--data-dir", text(&data), "--keys-dir", text(&keys)];
    run(&[&what[..], &places].concat()).ok();
    // The new store's keys are in its folder.
    setup()
        .run()
        .fails(1, &["KeyOfOtherStore", "move them aside"]);
    fs::rename(&keys, place.path("keys.former")).unwrap();
    fs::rename(data.join("keys"), &keys).unwrap();
    let server = setup().start();
    for token in tokens.values() {
        Machine::new().join(token).fails(3, &["not valid here"]);
    }
    assert!(server.terminate().0.success());
}

/// The mark is kept until nothing can be committed any more: what is half sent when the server is told to stop is answered.
#[tokio::test]
async fn whoever_is_admitted_while_the_server_stops_is_in_the_mark() {
    let place = Standalone::new();
    let more = format!("keysDir: {}\n", place.path("keys").display());
    let setup = || place.setup_with(&more);
    let server = setup().start();
    let token = create(&place.export("edge-*", "1h"), "edge-1");
    let key = JoinerKey::generate().unwrap();
    let half_sent = RawJoiner::new(&token, key, place.door_port).begin().await;
    server.signal(Signal::TERM);
    // Closed to everybody else: the server is about to wait for this request alone.
    let door = (Ipv4Addr::LOCALHOST, place.door_port);
    assert!(wait_until(|| TcpStream::connect(door).is_err()));

    // Nothing but the admission is missing in the copy.
    server.signal(Signal::STOP);
    let state = format!("/proc/{}/status", server.pid());
    let is_stopped = || fs::read_to_string(&state).unwrap().contains("\nState:\tT");
    assert!(wait_until(is_stopped));
    let (copy, current) = (place.path("copy"), place.path("current"));
    copy_folder(&place.data(), &copy);
    server.signal(Signal::CONT);
    let (code, answer) = half_sent.finish().await;
    assert_eq!(code, 200, "{answer}");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    copy_folder(&place.data(), &current);

    set_back(&place.data(), &copy);
    let mark = place.path("keys/reached");
    let says = ["was set back to an older copy", text(&mark)];
    is_refused(&setup(), &place.data(), &says);
    set_back(&place.data(), &current);
    let server = setup().start();
    Machine::new().join(&token).fails(5, &["used"]);
    assert!(server.terminate().0.success());
}
