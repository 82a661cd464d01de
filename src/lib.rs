//! jointoken lets new machines into a clustered system, each exactly once.
//!
//! The rooms, in reading order. Each folder is a room with one door, its `mod.rs`; who may
//! import whom is written in `docs/architecture.md` and enforced by `tests/tidy.rs`.

// Nothing that input, disk or network can make fail may end the process with a panic. Where the code itself rules a failure
// out, the place says so.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

#[cfg(all(feature = "first-rules", not(debug_assertions)))]
compile_error!("first-rules is for tests: a release knows all rules that there are");

pub mod faults;

pub mod token;

pub mod lifecycle;

pub mod store;

pub mod net;

pub mod pki;

pub mod peers;

pub mod founding;

pub mod bootstrap;

pub mod joiner;

pub mod api;

pub mod controller;

pub mod telemetry;

pub mod clock;

pub mod admin;

pub mod cli;
