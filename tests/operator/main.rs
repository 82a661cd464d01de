//! The program as users run it: `jointoken operator` on a real Kubernetes API, `jointoken serve` without one,
//! and `jointoken join` against both. What a room can be shown by itself is tested there; here is what only
//! the whole can get wrong.
//!
//! Run by `cargo xtask test`. Every test works in namespaces and folders of its own.

#[path = "../api_rules/cluster.rs"]
mod cluster;
mod copies;
mod kubeconfig;
#[path = "../marks/marks.rs"]
mod marks;
mod place;
mod port;
mod program;
mod raw_joiner;
mod replicas;
mod server;
mod small_disk;
mod standalone;
mod statuses;

mod admission;
mod api_away;
mod bad_input;
mod clock_ahead;
mod cloned;
mod crashes;
mod drill;
mod ends;
mod fat;
mod flags;
mod folders;
mod former;
mod full_disk;
mod group;
mod half_open;
mod keys;
mod log_lost;
mod log_unread;
mod mark_away;
mod misled;
mod modes;
mod offline;
mod restored_cluster;
mod restored_group;
mod restoring;
mod rights;
mod rolling;
mod scaling;
mod set_back;
mod set_back_group;
mod snapshots;
mod socket;
mod stopping;
mod token_commands;
mod tokens;
mod two_stores;
mod witnesses_away;
