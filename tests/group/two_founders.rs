//! Two replicas that are both told to found, on the same keys: one does.

use crate::group::Group;
use crate::server::{Server, Setup, wait_until};

/// Each has itself in the first place of the list.
fn founder(group: &Group, replica: usize) -> Setup {
    let own = format!("{:?}", group.peer_address(replica));
    let others: Vec<_> = (0..group.size())
        .map(|of| format!("{:?}", group.peer_address(of)))
        .filter(|address| *address != own)
        .collect();
    let list = format!("{own}, {}", others.join(", "));
    let config = group.config(replica).replace(&group.list(), &list);
    let mut setup = group.setup_of(replica, &config);
    setup.arguments.push("--new-group".into());
    setup
}

/// Who ended by itself, and who founds. `None`: the second found all keys of the first and waits to be let in, as it may.
fn race(group: &Group, setups: &[Setup; 2]) -> Option<(usize, [Server; 2])> {
    let mut servers = setups.each_ref().map(Setup::spawn);
    let mut loser = None;
    let is_decided = wait_until(|| {
        loser = (0..2).find(|replica| !servers[*replica].is_running());
        let waits = "it waits until the group of this store lets it in";
        loser.is_some() || servers.iter().any(|server| server.log().contains(waits))
    });
    let keys = group.keys();
    assert!(is_decided, "both found in {}", keys.display());
    Some((loser?, servers))
}

#[test]
fn of_two_founders_one_founds_and_the_other_is_told_what_to_do() {
    let (mut group, setups, loser, servers) = loop {
        let group = Group::new(3);
        let setups = [0, 1].map(|replica| founder(&group, replica));
        if let Some((loser, servers)) = race(&group, &setups) {
            break (group, setups, loser, servers);
        }
    };
    let [first, second] = servers;
    let (lost, founds) = match loser {
        0 => (first, second),
        _ => (second, first),
    };
    lost.end().fails(1, &["another replica", "again"]);
    founds.wait_for_log("waiting for the other replicas before the group is founded");

    // As it was told: an empty folder, and nothing else.
    group.wipe(loser);
    let let_in = setups[loser].spawn();
    group.start(2);
    let winner = 1 - loser;
    group.until("all are one group", |group| {
        let seen = group.try_members(winner);
        let members = seen.map_or(Vec::new(), |seen| seen.members);
        let is_well = members
            .iter()
            .all(|of| of.health == "ok" && of.role != "learner");
        members.len() == 3 && is_well
    });
    for server in [founds, let_in, group.take(2)] {
        assert!(server.terminate().0.success());
    }
}
