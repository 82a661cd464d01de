//! The replicated store: openraft over a log of our own, the lifecycle as its state machine.
//!
//! [`TokenStore`] is its only public door. This room must not know Kubernetes or the joiners' HTTP.

mod audit;
mod backup;
mod behind;
mod codec;
mod config;
mod contradiction;
pub mod disk;
mod duties;
mod file_trouble;
mod folder;
mod group;
mod group_clock;
mod health;
pub mod identity;
mod inner;
mod leader_clock;
mod listened_to;
mod live;
mod log;
mod machine;
mod member_view;
mod members;
mod observing;
mod open_error;
mod peers;
mod proposing;
mod raft_store;
mod reached;
mod record_query;
pub mod reference;
mod rounds;
mod seed;
mod snapshot;
mod standing;
mod steward;
#[cfg(test)]
mod suite_test;
mod survivor;
mod token_store;
mod types;
mod upgrade;

pub use audit::{AuditMark, AuditSink, AuditTrail, audit_trail};
pub use backup::{Backup, BackupError, NotFounded};
pub use config::{GroupConfig, StoreConfig};
pub use file_trouble::file_trouble;
pub use identity::Identity;
#[cfg(debug_assertions)]
pub use log::DurableLog;
pub use member_view::{MemberView, Members, Role};
pub use members::RemoveError;
pub use open_error::OpenError;
pub use peers::{CallError, MAX_MESSAGE, PeerAddress, PeerService, Transport};
#[cfg(debug_assertions)]
pub use peers::{EntryName, Overheard, Promise, Ruler, entries_sent, overhear};
pub use raft_store::RaftStore;
pub use reached::{NotReached, Reached, Told, Witness};
pub use record_query::{RecordPage, RecordQuery};
pub use seed::{Seed, seed};
pub use survivor::Survivor;
pub use token_store::{Change, Committed, Health, StoreError, TokenStore, submit};
pub use upgrade::{Rules, UpgradeError};
