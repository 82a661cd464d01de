//! What an operator asks of a replica: HTTP over a Unix socket in the replica's data folder.
//!
//! Whoever may open the socket (the file is the owner's alone) may do all that is offered here.
//! This room must not know the network: nothing in it listens on an address.

mod client;
mod export;
mod members;
mod server;
mod snapshot;
mod tokens;
mod wire;

pub use client::{AdminClient, ClientError};
pub use export::{ExportError, KeyExporter};
pub use server::{AdminServer, BindError, Offered};
pub use wire::{
    AcceptClockResponse, ClaimView, EndRequest, EndResponse, Ended, ExportKeyRequest,
    ExportKeyResponse, ForgetRequest, ForgetResponse, KeysResponse, KnownKey, MemberOfGroup,
    MemberView, MembersResponse, Problem, RemoveMembersRequest, RemoveMembersResponse,
    RulesResponse, TokenView, TokensQuery, TokensResponse,
};
