//! The `JoinToken` resource as Kubernetes sees it: its types, the rules that the API server enforces,
//! its conditions and their reasons.
//!
//! What is written at the types here becomes `kubectl explain jointoken`, and `crds/jointoken.yaml`
//! is generated from them. This room must not know how a token is made, kept or admitted, nor any
//! other room: `controller/` translates between these types and the store's.

mod conditions;
mod crd;
mod event_reasons;
mod join_token;
mod rules;
mod status;

pub use conditions::{ConditionReason, ConditionType};
pub use crd::{crd, crd_yaml};
pub use event_reasons::EventReason;
pub use join_token::{
    Admission, JoinToken, JoinTokenSpec, MAX_INTEGER, ReissuePolicy, SecretRetention,
    is_resource_name, is_secret_name,
};
pub use rules::{RULES, Rule};
pub use status::{JoinTokenStatus, JoinerStatus, LastFailure, Phase};
