//! Replicas that reach each other, over real TLS and real sockets on 127.0.0.1.

mod bounds;
mod calls;
mod faults;
mod raw;
mod rotation;
mod strangers;
mod world;
