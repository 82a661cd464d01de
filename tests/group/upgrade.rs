//! Two releases in one group, and the data folder of an earlier one.
//!
//! The later release is this commit with rules of the lifecycle that only tests know (`next-rules`): a claim counts two
//! attempts instead of one. `cargo xtask test` builds it and says where it is.

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

fn later_release() -> PathBuf {
    let program = std::env::var_os("JOINTOKEN_TEST_NEXT_RULES");
    let program = program.expect(
        "JOINTOKEN_TEST_NEXT_RULES: `cargo xtask test` builds the later release and sets it",
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
    let later = later_release();
    let mut group = Group::of_three();
    let load = Load::in_pairs(group.minter(0), group.doors(), 2);
    load.until_more(3);
    for program in [Some(&*later), None] {
        for replica in 0..group.size() {
            exchange(&mut group, replica, program, &load);
        }
    }
    // As long as one is of the earlier release, the later rules must wait.
    for replica in 0..group.size() {
        let refused = group.ask(replica, &["store", "upgrade", "finalize"]);
        refused.fails(8, &["rules 1 are in force", "upgrade all replicas first"]);
        exchange(&mut group, replica, Some(&later), &load);
    }
    let shown = group.ask(1, &["store", "upgrade"]).ok().stdout;
    assert!(shown.contains("every replica knows rules 2"), "{shown}");
    let follower = group.follower();
    let done = group
        .ask(follower, &["store", "upgrade", "finalize"])
        .ok()
        .stdout;
    assert!(done.contains("rules 2 are in force"), "{done}");
    load.until_more(5);
    let ended = load.end();
    let count = ended.races.len();
    ended.check();

    // There is no way back: the earlier release leaves the folder as it is.
    group.terminate(1);
    let log = group.data(1).join("store/log");
    let before = contents(&log);
    let ran = group.setup(1).run();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("use the release that the others have"),
        "{ran:?}"
    );
    assert!(
        contents(&log) == before,
        "the earlier release changed something"
    );
    group.start_as(1, Some(&later));
    group.until_whole();
    for replica in 0..group.size() {
        let listed = group.ask(
            replica,
            &["token", "list", "--limit", "1000", "--output", "json"],
        );
        let listed: serde_json::Value = serde_json::from_str(&listed.ok().stdout).unwrap();
        let tokens = listed["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), count);
        assert!(tokens.iter().all(|token| token["phase"] == "Consumed"));
        // By the later rules the first claim is the second attempt.
        let by_later = tokens.iter().filter(|token| token["attempts"] == 2);
        assert!(by_later.count() > 0);
    }
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
