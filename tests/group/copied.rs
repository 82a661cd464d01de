//! A data folder has one home: a second process with a copy of it is neither listened to nor goes on for long.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jointoken::store::{PeerAddress, TokenStore as _};

use crate::group::{Group, runtime};
use crate::in_process;
use crate::port;
use crate::program::Machine;
use crate::server::Setup;

const SAYS: &str = "another process has this replica's node id";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (kind, to) = (
            entry.file_type().expect("a kind"),
            to.join(entry.file_name()),
        );
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).expect("copying");
        }
    }
}

/// The same replica once more, with a copy of its data at another address.
fn copy_of(group: &Group, replica: usize) -> Setup {
    let data = group.path("copy");
    copy(&group.data(replica), &data);
    let mut setup = group.setup(replica);
    let metrics = port::reserve();
    let probes = port::reserve();
    let peers = format!("127.0.0.1:{}", port::reserve());
    let door = port::reserve();
    let config = (group.config(replica))
        .replace(
            &format!("dataDir: {}", group.data(replica).display()),
            &format!("dataDir: {}", data.display()),
        )
        .replace(&group.peer_address(replica), &peers)
        .replace(
            &format!("\nlisten: 127.0.0.1:{}", group.ports[replica].door),
            &format!("\nlisten: 127.0.0.1:{door}"),
        )
        .replace(
            &format!("metricsListen: 127.0.0.1:{}", group.ports[replica].metrics),
            &format!("metricsListen: 127.0.0.1:{metrics}"),
        )
        .replace(
            &format!("probeListen: 127.0.0.1:{}", group.ports[replica].probes),
            &format!("probeListen: 127.0.0.1:{probes}"),
        );
    let file = group.path("copy.yaml");
    fs::write(&file, config).expect("writing the configuration");
    setup.arguments = ["serve", "--config", file.to_str().expect("UTF-8")]
        .map(str::to_owned)
        .into();
    setup.metrics_port = metrics;
    setup.probe_port = probes;
    setup.log = group.path("log-copy");
    setup
}

#[test]
fn a_copy_of_a_replica_ends_and_the_group_goes_on_without_noticing() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let ids = group.node_ids(0);
    for copied in [group.follower(), group.leader()] {
        group.terminate(copied);
        let copy = copy_of(&group, copied);
        group.start(copied);
        group.until_whole();
        let copy = copy.spawn();
        group.until("it is seen that there are two", |group| {
            let others = (0..3).filter(|replica| *replica != copied);
            others
                .map(|replica| group.server(replica).log())
                .all(|log| log.contains("two processes have the same node id"))
        });
        Machine::new().join(&minter.token()).ok();
        copy.end().fails(1, &[SAYS, "empty the copy"]);
        group.until_whole();
        assert_eq!(group.node_ids(0), ids);
        Machine::new().join(&minter.token()).ok();
        fs::remove_dir_all(group.path("copy")).expect("removing the copy");
    }
    group.terminate_all();
    runtime().block_on(in_process::common_state(&group));
}

/// As when somebody takes a neighbour's folder for one that was lost.
#[test]
fn a_copy_in_anothers_place_ends_though_it_was_there_first() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let ids = group.node_ids(0);
    group.terminate_all();
    group.wipe(2);
    copy(&group.data(1), &group.data(2));
    group.start(2);
    group.start(0);
    group
        .server(2)
        .wait_for_log("waiting for a majority of the group");
    group.start(1);
    let copied = group.take(2);
    copied.end().fails(1, &[SAYS]);
    let admits = Machine::new();
    admits
        .join_with(&minter.token(), &["--timeout", "90s"])
        .ok();
    assert_eq!(group.node_ids(0)[1], ids[1], "the original is where it was");
    group.wipe(2);
    group.start(2);
    group.until_whole();
    assert_eq!(group.node_ids(0)[..2], ids[..2]);
    group.terminate_all();
}

#[test]
fn a_copy_of_a_replica_that_is_alone_ends_before_it_admits_anybody() {
    let mut group = Group::new(1);
    group.found();
    let minter = group.minter(0);
    group.terminate(0);
    let copy = copy_of(&group, 0);
    group.start(0);
    group.until_whole();
    copy.run().fails(1, &["a copy of it was gone on with"]);
    Machine::new().join(&minter.token()).ok();
    group.terminate_all();
}

#[test]
fn a_member_is_heard_at_its_own_address_or_at_one_of_the_list() {
    let mut group = Group::of_three();
    group.terminate_all();
    let stranger = format!("127.0.0.1:{}", port::reserve());
    let place = |replica| (replica, PeerAddress::new(&group.peer_address(replica)));
    let elsewhere = (2, PeerAddress::new(&stranger));
    let is_heard = |places| async {
        let stores = in_process::open_at(&group, places, |_| {}).await;
        in_process::catches_up(&stores[0]).await;
        let third = stores[2].identity().node_id;
        // All three tell each other twice a second: whoever is not heard in that time is not listened to.
        let mut seen = None;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let members = stores[0].members().members;
            let member = members.into_iter().find(|of| of.node_id == third);
            seen = member.expect("a member").heard_ms_ago;
            if seen.is_some() {
                break;
            }
        }
        for store in &stores {
            assert_eq!(store.health().borrow().fatal, None);
            store.shutdown().await;
        }
        seen.is_some()
    };
    runtime().block_on(async {
        assert!(is_heard(vec![place(0), place(1), place(2)]).await);
        assert!(!is_heard(vec![place(0), place(1), elsewhere]).await);
    });
}
