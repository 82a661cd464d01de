//! What the controller is told at its start.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::token::{Delivery, NodePattern, SigningKey};

/// How the controller goes about its work.
#[derive(Debug, Clone, Default)]
pub struct ControllerConfig {
    /// The namespaces to watch; none: all of them.
    pub namespaces: Vec<String>,
    /// The class of the resources to serve; none: those without a class.
    pub class: Option<String>,
    /// Which node names a namespace may use, for the namespaces that are listed: those whose machines
    /// get certificates for the bare node name. Others may use any name, since theirs ends in
    /// the namespace's.
    pub node_names: BTreeMap<String, NodePattern>,
    /// Who writes the events, the pod's name for instance.
    pub instance: Option<String>,
}

/// What tokens are made with.
#[derive(Debug, Clone)]
pub struct Minting {
    /// The store's own key of purpose `resource`.
    pub key: Arc<SigningKey>,
    /// Where joiners find the door and how they know it.
    pub delivery: Delivery,
    /// The door's CA, PEM.
    pub door_ca_pem: String,
}
