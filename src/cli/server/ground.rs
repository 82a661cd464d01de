//! What a replica stands on.

use std::sync::Arc;

use crate::cli::group::MembersList;
use crate::founding::{FormerEpochs, FoundingObject, ReachedMark, Vault};

/// Where the keys of a replica are kept, and what it is told of the cluster.
pub struct Ground {
    pub vault: Arc<dyn Vault>,
    /// `None` outside Kubernetes.
    pub object: Option<Arc<dyn FoundingObject>>,
    /// What remembers, outside of the data folder, how far the log has been.
    pub mark: Arc<dyn ReachedMark>,
    /// `None` outside Kubernetes.
    pub former: Option<Arc<dyn FormerEpochs>>,
    /// Whoever runs the replica says that there is no group yet.
    pub may_found_group: bool,
    /// The members of the group, where they change while it runs; `None`: they are as configured.
    pub list: Option<MembersList>,
}
