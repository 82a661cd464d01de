//! The controller on a real API server: from `kubectl apply` to the end of the token, through restarts.
//!
//! The store is the reference store in memory: what the store does is tested elsewhere, here time
//! stands still unless a test moves it. Run by `cargo xtask test`.

mod ground;
#[path = "../marks/log.rs"]
mod log;
#[path = "../marks/marks.rs"]
mod marks;

mod adoption;
mod finalizers;
mod hostile;
mod lifecycle;
mod orphans;
mod others;
mod permissions;
mod requests;
mod restored;
mod revisions;
mod same_node;
mod secrets;
mod set_back;
mod stopping;
mod stories;
mod trouble;
