//! What `serve` and `operator` have in common: one replica with its door, from start to stop.
//!
//! [`Ground`] says what it stands on; `starting` goes from there to a replica that serves: `opening` opens its store, or founds it,
//! `door_opening` the door. `parts` are what runs in a [`Replica`].

mod door_opening;
mod door_threads;
mod ground;
mod mark_keeper;
mod opening;
mod outside;
mod parts;
mod replica;
mod starting;
mod store_time;

pub use ground::Ground;
pub use replica::Replica;

use super::exit::{Exit, Failure};

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error)
}
