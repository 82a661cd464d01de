//! Reconciles `JoinToken` resources with the store: observe, plan, execute.
//!
//! `plan/` is pure and decides everything; [`Effects`] is the one way by which anything is changed;
//! [`Operator::run`] watches and wakes. The store is the truth, the status a mirror of it, and only
//! the store's leader writes either.
//!
//! This room must not know the joiners' door.

mod api_error;
mod config;
mod deadline;
mod effect;
mod error;
mod execute;
mod former;
mod founding_data;
mod founding_object;
mod frozen;
mod latest;
mod lean;
mod namespaces;
mod orphans;
mod others;
mod ownership;
mod plan;
mod publish;
mod reconcile;
mod refusal;
mod rewrites;
mod run;
mod same_node;
mod scaling;
mod secret;
mod seen;
mod set_back;
mod standing;
mod through_proxy;
mod vault;
mod view;
mod wake;

pub use api_error::{is_away, told, told_of_credentials};
pub use config::{ControllerConfig, Minting};
pub use deadline::Deadlines;
pub use effect::{Effect, Effected, Effects, Notice};
pub use error::Error;
pub use founding_object::FoundingConfigMap;
pub use ownership::{CLAIM, FormerStores, tells_of_store, told_store};
pub use run::Operator;
pub use scaling::{Leaving, Places, Scaling};
pub use secret::SecretContent;
pub use seen::{PAGE, Seen};
pub use through_proxy::ApiProxy;
pub use vault::SecretVault;
pub use view::FINALIZER;
