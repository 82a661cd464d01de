//! All that a plan rests on.

use kube::ResourceExt;

use crate::api::{JoinToken, JoinTokenStatus};
use crate::lifecycle::Issuance;
use crate::lifecycle::command::Founded;
use crate::token::TokenId;

use super::config::{ControllerConfig, Minting};
use super::ownership::{FormerStores, Owner};
use super::secret::SecretSeen;
use super::standing::{InForce, Standing};

/// Keeps a deleted resource until the abort of its live token is committed.
pub const FINALIZER: &str = "jointoken.io/abort-on-delete";

/// One look at a resource and at everything around it.
#[derive(Debug, Clone)]
pub struct View<'a> {
    pub config: &'a ControllerConfig,
    pub minting: &'a Minting,
    pub store: StoreFacts,
    pub founded: Founded,
    pub former_stores: FormerStores,
    pub now_ms: u64,
    /// Drawn at random, for a token that may be registered.
    pub fresh_token_id: TokenId,
    pub namespace_uid: String,
    /// The namespace is being deleted.
    pub namespace_ends: bool,
    pub resource: JoinToken,
    pub standing: Standing,
    /// What became of the token that the status tells of, if another one of the resource is in force by now.
    pub former: Option<InForce>,
    /// What stands under the name that the spec gives to the Secret.
    pub secret: SecretSeen,
    /// What stands under the name that the status gives, if that is another.
    pub former_secret: SecretSeen,
    /// The status is this store's and tells of more than the store knows, which was made sure of.
    pub status_ahead: bool,
    /// The store's keys are all there, and the right ones. If not, nothing may be rendered.
    pub keys_in_order: bool,
    /// The store has answered a registration since the resource was looked at.
    pub registered: bool,
    /// That made the issuance in force: nothing is being adopted.
    pub created: bool,
}

/// What is the same for all resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFacts {
    pub reissue_interval_ms: u64,
    pub max_token_ttl_ms: u64,
    /// The place in the log at which the store was restored. What changed last before is as its snapshot had it.
    pub restored_at: Option<u64>,
}

impl View<'_> {
    /// The status as it is now.
    pub fn status(&self) -> JoinTokenStatus {
        self.resource.status.clone().unwrap_or_default()
    }

    pub fn has_finalizer(&self) -> bool {
        has_finalizer(&self.resource)
    }

    /// Which store looks after the resource.
    pub fn owner(&self) -> Owner {
        Owner::of(&self.resource, &self.founded, &self.former_stores)
    }
}

/// The resource carries our finalizer.
pub fn has_finalizer(resource: &JoinToken) -> bool {
    resource.finalizers().iter().any(|name| name == FINALIZER)
}

/// The version of a copy of a resource: those of one API server only grow. `None`: it is no number, and cannot be compared.
pub fn version_of(resource: &impl ResourceExt) -> Option<u64> {
    resource.resource_version()?.parse().ok()
}

/// The store's name for the resource.
pub fn issuance_of(resource: &impl ResourceExt) -> Issuance {
    Issuance {
        namespace: resource.namespace().unwrap_or_default(),
        name: resource.name_any(),
    }
}
