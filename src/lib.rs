//! jointoken lets new machines into a clustered system, each exactly once.
//!
//! The rooms, in reading order. Each folder is a room with one door, its `mod.rs`; who may
//! import whom is written in `docs/architecture.md` and enforced by `tests/tidy.rs`.

pub mod token;

pub mod lifecycle;

pub mod store;

pub mod pki;

pub mod founding;

pub mod bootstrap;

pub mod joiner;

pub mod api;

pub mod controller;

pub mod telemetry;

pub mod clock;

pub mod admin;

pub mod cli;
