//! Two releases in one group, and the data folder of an earlier one.
//!
//! The earlier release is this commit without what came with the rules of the lifecycle after the first (`first-rules`).
//! `cargo xtask test` builds it and says where it is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::group::{Group, copy_folder, runtime};
use crate::in_process;
use crate::load::Load;
use crate::program::Machine;

/// What a data folder of v0.1.0 knows: two tokens that were used, and one that was ended before it was seen.
const USED: [&str; 2] = [
    "ed7842fdd65f208d9763f1f2e2782ff7",
    "fc564a578570252cf715ff0ea9d0ac71",
];
const ENDED: &str = "f608fac5733e1f9c26b341ea0a855ee9";

fn earlier_release() -> PathBuf {
    let program = std::env::var_os("JOINTOKEN_TEST_EARLIER_RELEASE");
    let program = program.expect(
        "JOINTOKEN_TEST_EARLIER_RELEASE: `cargo xtask test` builds the earlier release and sets it",
    );
    program.into()
}

/// Stops the replica, and starts another release on its folder.
fn exchange(group: &mut Group, replica: usize, program: Option<&Path>, load: &Load) {
    group.terminate(replica);
    group.start_as(replica, program);
    group.until_whole();
    load.until_more(3);
}

#[test]
fn a_group_is_upgraded_under_load_taken_back_upgraded_again_and_finalized() {
    let earlier = earlier_release();
    let mut group = Group::new(3);
    group.found_as(Some(&earlier));
    let load = Load::in_pairs(group.minter(0), group.doors(), 2);
    load.until_more(3);
    for program in [None, Some(&*earlier)] {
        for replica in 0..group.size() {
            exchange(&mut group, replica, program, &load);
        }
    }
    // As long as one is of the earlier release, the later rules must wait, and it can read all that the others propose.
    for replica in 0..group.size() {
        let refused = group.ask(replica, &["store", "upgrade", "finalize"]);
        refused.fails(8, &["rules 1 are in force", "upgrade all replicas first"]);
        exchange(&mut group, replica, None, &load);
    }
    let of_edge_1 = ["--node", "edge-1"];
    let shown = group.ask(1, &["store", "upgrade"]).ok().stdout;
    assert!(shown.contains("every replica knows rules 3"), "{shown}");
    assert_eq!(tokens(&group, 1, &of_edge_1).len(), 0);
    let follower = group.follower();
    let done = group
        .ask(follower, &["store", "upgrade", "finalize"])
        .ok()
        .stdout;
    assert!(done.contains("rules 3 are in force"), "{done}");
    load.until_more(5);
    let ended = load.end();
    let count = ended.races.len();
    ended.check();

    // There is no way back: the earlier release leaves the folder as it is.
    group.terminate(1);
    let log = group.data(1).join("store/log");
    let before = contents(&log);
    let mut setup = group.setup(1);
    setup.program = Some(earlier);
    let ran = setup.run();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let why = "has format 3, this release reads formats up to 2";
    assert!(ran.stderr.contains(why), "{ran:?}");
    assert!(
        contents(&log) == before,
        "the earlier release changed something"
    );
    group.start(1);
    group.until_whole();
    for replica in 0..group.size() {
        let all = tokens(&group, replica, &[]);
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|token| token["phase"] == "Consumed"));
        // Of who came before the later rules it is not known which machine it was.
        let known = tokens(&group, replica, &of_edge_1);
        assert!(known.len() >= 3 && known.len() < count, "{}", known.len());
        let named = all.iter().filter(|token| token["node"] == "edge-1");
        assert_eq!(named.count(), known.len());
    }
}

/// What `token list` says at this replica.
fn tokens(group: &Group, replica: usize, of: &[&str]) -> Vec<serde_json::Value> {
    let list = ["token", "list", "--limit", "1000", "--output", "json"];
    let listed = group.ask(replica, &[&list[..], of].concat()).ok().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    listed["tokens"].as_array().unwrap().clone()
}

/// The files in a folder and what is in them.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = (fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_data_folder_of_the_first_release_opens_and_grows_to_three() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group/golden/v0.1.0");
    let mut group = Group::new(3);
    copy_folder(&golden.join("data"), &group.data(0));
    copy_folder(&golden.join("keys"), &group.keys());
    for replica in [2, 0, 1] {
        group.start(replica);
    }
    group.until_whole();
    for replica in 0..group.size() {
        for (id, phase) in [
            (USED[0], "Consumed"),
            (USED[1], "Consumed"),
            (ENDED, "Aborted"),
        ] {
            let shown = group.ask(replica, &["token", "show", id, "--output", "json"]);
            let shown: serde_json::Value = serde_json::from_str(&shown.ok().stdout).unwrap();
            assert_eq!(shown["phase"], phase, "{id}");
        }
    }
    let token = group.minter(1).token();
    Machine::new().join(&token).ok();
    group.terminate_all();
    let state = runtime().block_on(in_process::common_state(&group));
    assert_eq!(state.record_count(), 4);
}
