//! What cannot be a group is said in one line, and nothing is founded.

use std::fs;

use crate::group::Group;

/// Nothing was made anywhere.
fn is_untouched(group: &Group) {
    assert!(!group.keys().exists());
    assert!(!group.data(0).join("identity").exists());
    assert!(!group.data(0).join("store").exists());
}

#[test]
fn the_first_does_not_found_unless_it_is_told_to() {
    let group = Group::new(3);
    let ran = group.setup(0).run();
    ran.fails(1, &["the first of its group's list", "--new-group"]);
    is_untouched(&group);

    // The others may be told so, too: it does not make them the first.
    let mut setup = group.setup(1);
    setup.arguments.push("--new-group".into());
    let server = setup.spawn();
    server.wait_for_log("waiting for the first of the group to make its keys");
    assert!(server.terminate().0.success());
    is_untouched(&group);
}

#[test]
fn what_cannot_be_a_group_is_refused() {
    let group = Group::new(3);
    let config = group.config(0);
    let [first, second, third] = [0, 1, 2].map(|of| format!("{:?}", group.peer_address(of)));
    let list = |some: &str| config.replace(&group.list(), some);
    let keys = format!("keysDir: {}", group.keys().display());
    let inside = format!("keysDir: {}/keys", group.data(0).display());
    let peers = config.find("peers:").expect("peers");
    let address = format!("address: {first}");
    let moved = config.replace(&address, "address: \"127.0.0.1:1\"");
    let no_port = list(&format!("{first}, {second}, \"c.example\""));
    let door = format!("listen: 127.0.0.1:{}", group.ports[0].door);
    let same = config.replace(&door, &format!("listen: {}", group.peer_address(0)));
    for (config, says) in [
        (
            list(&format!("{first}, {second}")),
            &["2 replicas", "1, 3, 5, 7 or 9"][..],
        ),
        (list(""), &["not among the members"]),
        (
            list(&format!("{second}, {third}, {second}")),
            &["names one twice"],
        ),
        (
            moved,
            &["127.0.0.1:1, is not among the members", "exactly so"],
        ),
        (no_port, &["the member \"c.example\""]),
        (config.replace(&keys, &inside), &["lies in the data folder"]),
        (config.replace(&keys, ""), &["keysDir is missing"]),
        (same, &["the door and the other replicas", "another port"]),
    ] {
        for is_told_to_found in [true, false] {
            let mut setup = group.setup_of(0, &config);
            if is_told_to_found {
                setup.arguments.push("--new-group".into());
            }
            setup.run().fails(2, says);
        }
    }
    let mut lone = group.setup_of(0, &config[..peers]);
    lone.arguments.push("--new-group".into());
    lone.run().fails(2, &["--new-group", "names no peers"]);
    is_untouched(&group);
    assert!(!group.data(0).exists());
}

#[test]
fn a_replica_with_another_list_is_not_founded_with() {
    let mut group = Group::new(3);
    group.start_founder();
    group.start(1);
    let stranger = crate::port::reserve();
    let third = group.config(2);
    let other = third.replace(&group.peer_address(0), &format!("127.0.0.1:{stranger}"));
    let server = group.setup_of(2, &other).spawn();
    let says = "it was given another list of members";
    group.server(0).wait_for_log(says);
    assert!(!group.is_ready(0));
    assert!(server.terminate().0.success());
    group.start(2);
    group.until_whole();
    group.terminate_all();
}

#[test]
fn keys_of_another_group_are_not_taken_for_ones_own() {
    let mut group = Group::of_three();
    let mut other = Group::of_three();
    let keys = format!("keysDir: {}", group.keys().display());
    let others = format!("keysDir: {}", other.keys().display());
    group.terminate(2);
    let config = group.config(2).replace(&keys, &others);
    let ran = group.setup_of(2, &config).run();
    ran.fails(1, &["KeyOfOtherStore"]);
    // With none at all.
    let nowhere = format!("keysDir: {}", group.path("nowhere").display());
    let config = group.config(2).replace(&keys, &nowhere);
    group.setup_of(2, &config).run().fails(1, &["is missing"]);
    assert!(fs::read_dir(group.path("nowhere")).is_err());
    group.start(2);
    group.until_whole();
    group.terminate_all();
    other.terminate_all();
}
