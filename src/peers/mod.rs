//! How replicas reach each other: requests and answers in frames over mutual TLS 1.3.
//!
//! [`PeerTransport`] asks and [`PeerServer`] answers; what is said is the store's business. This room must not know what a
//! request means, Raft, HTTP, Kubernetes, or who belongs to the group: it proves addresses, no more.
//!
//! The client sends requests, the server answers, and both send a sign of life now and then (`frame`). Many requests are under
//! way on one connection, and answers come in any order. Read `limits`, `address`, `certificate`, `tls`, `frame`, `outbox`,
//! `writer`, then the client (`calls`, `line`, `transport`) and the server (`places`,
//! `watched`, `conversation`, `server`).

mod address;
mod calls;
mod certificate;
mod conversation;
mod frame;
mod limits;
mod line;
mod outbox;
mod places;
mod server;
mod tls;
mod transport;
mod writer;

pub use address::peer_address;
pub use certificate::PeerCertificates;
pub use limits::PeerLimits;
pub use server::PeerServer;
pub use tls::PeerTls;
pub use transport::PeerTransport;
