//! Replicas that reach each other, over real TLS and real sockets on 127.0.0.1.

mod bounds;
mod calls;
mod crowds;
mod faults;
#[path = "../marks/log.rs"]
mod log;
#[path = "../marks/marks.rs"]
mod marks;
mod raw;
mod rotation;
mod strangers;
mod world;
