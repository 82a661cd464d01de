//! The way to a Kubernetes API, and to what an operator keeps there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::exit::Failure;
use super::statuses::Statuses;
use crate::controller::{FoundingConfigMap, SecretVault};
use crate::founding::Cluster;
use crate::token::is_node_name;

/// What the names of the operator's own objects begin with.
pub const PREFIX: &str = "jointoken";

/// The configuration of this kubeconfig, or of whatever the environment offers.
///
/// # Errors
/// One line: there is none that can be used.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, Failure> {
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| {
                Failure::usage(format_args!("the kubeconfig {}: {error}", path.display()))
            })?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| error.to_string())
        }
        None => Config::infer().await.map_err(|error| error.to_string()),
    };
    config.map_err(|error| {
        Failure::usage(format_args!(
            "there is no usable way to a Kubernetes API ({error}): give --kubeconfig, set KUBECONFIG, or run in a pod with a service account"
        ))
    })
}

/// A client for it.
///
/// # Errors
/// One line: it cannot be used.
pub fn client(config: Config) -> Result<Client, Failure> {
    Client::try_from(config)
        .map_err(|error| Failure::usage(format_args!("the Kubernetes API cannot be used: {error}")))
}

/// Which cluster's store is meant. The command runs with the rights of whoever calls it.
#[derive(Debug, clap::Args)]
pub struct ClusterArgs {
    /// The store is an operator's: the namespace of its Secrets and founding ConfigMap, which become those of the new store
    #[arg(long, value_name = "NAME")]
    pub system_namespace: Option<String>,
    /// Kubeconfig to use [default: the environment's KUBECONFIG, else the pod's service account]
    #[arg(long, value_name = "FILE", requires = "system_namespace")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespaces whose JoinTokens the operator serves: the new epoch is above what they tell [default: all]
    #[arg(
        long = "namespace",
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "system_namespace"
    )]
    pub namespaces: Vec<String>,
}

impl ClusterArgs {
    /// The cluster, if one is meant.
    ///
    /// # Errors
    /// One line: it cannot be reached, or JoinTokens cannot be listed there.
    pub async fn cluster(&self) -> Result<Option<Cluster>, Failure> {
        match &self.system_namespace {
            None => Ok(None),
            Some(namespace) => Ok(Some(cluster(namespace, self).await?)),
        }
    }
}

/// The cluster that has to be meant.
///
/// # Errors
/// One line: none is named, or it cannot be reached.
pub async fn cluster_of(args: &ClusterArgs) -> Result<Cluster, Failure> {
    let cluster = args.cluster().await?;
    cluster.ok_or_else(|| {
        Failure::usage("--system-namespace is missing: only a store in Kubernetes has a mark that another can take over; `serve` founds a store in any empty data folder")
    })
}

async fn cluster(namespace: &str, args: &ClusterArgs) -> Result<Cluster, Failure> {
    let named = args.namespaces.iter().map(String::as_str);
    let mut named = named.chain([namespace]);
    if let Some(odd) = named.find(|name| !is_node_name(name)) {
        return Err(Failure::usage(format_args!(
            "{odd:?} is not the name of a namespace"
        )));
    }
    let client = client(config(args.kubeconfig.as_deref()).await?)?;
    let statuses = Statuses::new(&client, &args.namespaces);
    statuses.check().await?;
    Ok(Cluster {
        vault: Arc::new(SecretVault::new(client.clone(), namespace, PREFIX)),
        object: Arc::new(FoundingConfigMap::new(client, namespace, PREFIX)),
        former: Arc::new(statuses),
    })
}
