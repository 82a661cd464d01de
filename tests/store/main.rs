//! The store from outside: its contract, its folder, its crashes.

mod contract;
mod crash_sim;
mod folder;
mod group_commit;
mod group_sim;
mod kill;
mod rules;
mod sim_disk;
mod sim_net;
mod sim_runtime;
mod slow_disk;
mod support;
mod survivor;

// The program as a process, as the tests of the whole run it.
#[path = "../marks/marks.rs"]
mod marks;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/port.rs"]
mod port;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/program.rs"]
mod program;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/raw_joiner.rs"]
mod raw_joiner;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/server.rs"]
mod server;
#[allow(dead_code, reason = "shared with tests/operator")]
#[path = "../operator/standalone.rs"]
mod standalone;
