//! The door and the joiner, over real TLS and real sockets on 127.0.0.1.

mod admission;
mod answers;
mod balancer;
mod caller;
mod connect_proxy;
mod connections;
mod crowd;
mod crowds;
mod cut;
mod documents;
mod faults;
mod figures;
mod folders;
mod joining;
#[path = "../marks/marks.rs"]
mod marks;
mod names;
mod observed;
mod offline;
mod program;
mod program_proxy;
mod proxy;
mod raft;
mod rates;
mod refusals;
mod rogue;
mod script;
mod secrets;
mod server;
#[path = "../store/slow_disk.rs"]
mod slow_disk;
mod trust;
mod world;
