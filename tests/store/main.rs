//! The store from outside: its contract, its folder, its crashes.

mod crash_sim;
mod folder;
mod sim_disk;
mod sim_runtime;
mod support;
