//! Three processes become a group, whichever starts first, and every door admits.

use jointoken::pki::JoinerKey;

use crate::group::{Group, runtime};
use crate::program::Machine;
use crate::raw_joiner::RawJoiner;

/// Three voters, one leader, the same for everybody; who asks is marked.
fn is_shown_by_all(group: &Group) {
    let ids = group.node_ids(0);
    let leader = group.members(0).leader.expect("a leader");
    assert!(ids.contains(&leader));
    for replica in 0..3 {
        let ran = group.ask(replica, &["store", "members", "--output", "json"]);
        let seen: serde_json::Value = serde_json::from_str(&ran.ok().stdout).unwrap();
        assert_eq!(seen["leader"], leader.as_str());
        assert_eq!(group.node_ids(replica), ids);
        for member in seen["members"].as_array().unwrap() {
            let id = member["nodeId"].as_str().unwrap();
            let role = if id == leader { "leader" } else { "voter" };
            assert_eq!(member["role"], role);
            assert_eq!(member["health"], "ok");
            assert_eq!(member["isAsked"], id == ids[replica]);
        }
        let shown = group.ask(replica, &["store", "members"]).ok().stdout;
        assert!(shown.contains(&format!("led by {leader}")), "{shown}");
        let (code, _) = group.server(replica).get("/livez").unwrap();
        assert_eq!(code, 200);
    }
}

/// Everybody is admitted at every door, once, whichever door is asked next.
fn every_door_admits(group: &Group) {
    for (first, exporter) in [(0, 1), (1, 2), (2, 0)] {
        let minter = group.minter(exporter);
        let next = (first + 1) % 3;
        let token = minter.token();
        let at = |door| group.door_url(door);
        let machine = Machine::new();
        machine.join_with(&token, &["--url", &at(first)]).ok();
        let late = Machine::new().join_with(&token, &["--url", &at(next)]);
        late.fails(5, &["used"]);
        // At whichever of the token's own doors.
        Machine::new().join(&minter.token()).ok();

        let mut machine = RawJoiner::new(&minter.token(), JoinerKey::generate().unwrap(), 0);
        let mut answers = [first, next, exporter].map(|door| {
            machine.port = group.ports[door].door;
            runtime().block_on(machine.join())
        });
        answers.reverse();
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[1], answers[2]);
    }
}

#[test]
fn started_in_the_order_of_the_list() {
    let mut group = Group::new(3);
    group.start_founder();
    let waits = "waiting for the other replicas before the group is founded";
    group.server(0).wait_for_log(waits);
    assert!(!group.is_ready(0));
    let (code, _) = group.server(0).get("/livez").unwrap();
    assert_eq!(code, 200);
    group.start(1);
    let second = format!("waited_for=\"{}\"", group.peer_address(2));
    group.server(0).wait_for_log(&second);
    group.start(2);
    group.until_whole();
    is_shown_by_all(&group);
    every_door_admits(&group);

    // All at once, and again: the flag stays harmless, and the members are who they were.
    let ids = group.node_ids(0);
    group.terminate_all();
    group.start_founder();
    group.start(1);
    group.start(2);
    group.until_whole();
    assert_eq!(group.node_ids(2), ids);
    every_door_admits(&group);
    group.terminate_all();
}

#[test]
fn started_from_the_end_of_the_list_and_killed_meanwhile() {
    let mut group = Group::new(3);
    let waits = "waiting for the first of the group to make its keys";
    for replica in [2, 1] {
        group.start(replica);
        group.server(replica).wait_for_log(waits);
    }
    // Whoever has nothing yet may be stopped and killed as one likes.
    group.terminate(2);
    group.start_founder();
    let founder = "waiting for the other replicas before the group is founded";
    group.server(0).wait_for_log(founder);
    group.kill(0);
    group.terminate(1);
    // It has begun, so it need not be told again.
    group.start(0);
    group.server(0).wait_for_log(founder);
    group.start(1);
    group.start(2);
    group.until_whole();
    is_shown_by_all(&group);
    every_door_admits(&group);
    group.terminate_all();
}

#[test]
fn one_grows_to_three_and_three_to_five() {
    let mut group = Group::new(5);
    // As the first configuration had it.
    let only = |group: &Group, replica: usize, size: usize| {
        let all = group.list();
        let some: Vec<_> = (0..size)
            .map(|of| format!("{:?}", group.peer_address(of)))
            .collect();
        let config = group.config(replica).replace(&all, &some.join(", "));
        group.setup_of(replica, &config)
    };
    for size in [1, 3] {
        let mut servers = Vec::new();
        for replica in 0..size {
            let mut setup = only(&group, replica, size);
            if replica == 0 {
                setup.arguments.push("--new-group".into());
            }
            servers.push(setup.spawn());
        }
        group.until("that many are members", |group| {
            let seen = group.try_members(size - 1);
            let voters = seen.map_or(0, |seen| {
                let votes = |role: &str| role == "leader" || role == "voter";
                seen.members.iter().filter(|of| votes(&of.role)).count()
            });
            voters == size
        });
        for server in servers {
            assert!(server.terminate().0.success());
        }
    }
    for replica in 0..5 {
        group.start(replica);
    }
    group.until_whole();
    let token = group.minter(4).token();
    let last = group.door_url(4);
    Machine::new().join_with(&token, &["--url", &last]).ok();
    group.terminate_all();
}
