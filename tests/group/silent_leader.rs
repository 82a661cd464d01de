//! Of a leader that is gone the others know for ever that it led.

use crate::group::Group;

#[test]
fn a_replica_that_is_left_alone_says_that_its_leader_is_silent_and_what_to_do() {
    let mut group = Group::of_three();
    let leader = group.leader();
    let [left, other] = [1, 2].map(|further| (leader + further) % 3);
    let well = group.members(left);
    assert!(well.leader_is_heard && well.majority_is_heard);
    // Frozen at once, lest one of the others follows another leader first.
    group.freeze(other);
    group.freeze(leader);
    group.until("it is alone", |group| {
        !group.members(left).majority_is_heard
    });
    group.until("the leader is silent", |group| {
        let seen = group.members(left);
        let led = |id: &Option<String>| *id == well.leader;
        led(&seen.leader) && !seen.leader_is_heard
    });
    let shown = group.ask(left, &["store", "members"]).ok().stdout;
    for says in [
        "when that was last heard of, and it is silent now",
        "no majority of the voters",
        "`jointoken store recover`",
    ] {
        assert!(shown.contains(says), "{shown}");
    }
    let json = group.ask(left, &["store", "members", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.ok().stdout).expect("JSON");
    assert_eq!(json["leaderIsHeard"], false);
    assert_eq!(json["majorityIsHeard"], false);

    group.thaw(leader);
    group.thaw(other);
    group.until("both are heard of again", |group| {
        let seen = group.members(left);
        seen.leader_is_heard && seen.majority_is_heard
    });
    group.until_whole();
    group.terminate_all();
}
