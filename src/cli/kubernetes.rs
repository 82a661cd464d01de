//! The way to a Kubernetes API, and to what an operator keeps there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::exit::Failure;
use super::proxy::ProxyEnvironment;
use super::statuses::Statuses;
use crate::controller::{FoundingConfigMap, SecretVault, told};
use crate::founding::{Cluster, whole};
use crate::token::{StoreId, is_node_name};

/// What the names of the operator's own objects begin with.
pub const PREFIX: &str = "jointoken";

/// By what the API server's own log and its flow control know us.
const AGENT: &str = concat!("jointoken/", env!("CARGO_PKG_VERSION"));

/// The configuration of this kubeconfig, or of whatever the environment offers.
///
/// # Errors
/// One line: there is none that can be used.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, Failure> {
    let file = match kubeconfig {
        Some(path) => Some(Kubeconfig::read_from(path).map_err(|error| {
            let why = unusable(&error);
            Failure::usage(format_args!("the kubeconfig {} {why}", path.display()))
        })?),
        // Where there is none, a pod's service account may do.
        None => Kubeconfig::read().ok(),
    };
    let proxy = file.as_ref().map(|file| proxy_url(file).map(str::to_owned));
    let config = match (kubeconfig, file) {
        (Some(_), Some(file)) => {
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| format!("it {}", unusable(&error)))
        }
        _ => Config::infer().await.map_err(|error| whole(&error)),
    };
    let mut config = config.map_err(|error| {
        Failure::usage(format_args!(
            "there is no usable way to a Kubernetes API ({error}): give --kubeconfig, set KUBECONFIG, or run in a pod with a service account"
        ))
    })?;
    if let Some(of_kubeconfig) = proxy {
        let environment = ProxyEnvironment::read();
        let proxy = environment.proxy_for(&config.cluster_url, of_kubeconfig.as_deref());
        config.proxy_url = proxy.map_err(Failure::usage)?;
    }
    let agent = (USER_AGENT, HeaderValue::from_static(AGENT));
    config.headers.push(agent);
    Ok(config)
}

/// The proxy that the current context names.
fn proxy_url(file: &Kubeconfig) -> Option<&str> {
    let current = file.current_context.as_ref()?;
    let mut contexts = file.contexts.iter();
    let named = contexts.find(|context| context.name == *current)?;
    let cluster = &named.context.as_ref()?.cluster;
    let mut clusters = file.clusters.iter();
    let named = clusters.find(|named| named.name == *cluster)?;
    named.cluster.as_ref()?.proxy_url.as_deref()
}

/// Why a kubeconfig cannot be used, as the rest of a sentence.
fn unusable(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, _) => format!("cannot be read: {error}"),
        KubeconfigError::Parse(error) => {
            format!("is not valid: {}", error.to_string().replace('\n', " "))
        }
        KubeconfigError::ParseNoProxy(error) => {
            format!("cannot be used: NO_PROXY is not a list of hosts and networks: {error}")
        }
        error => format!("cannot be used: {}", whole(error)),
    }
}

/// A client for it.
///
/// # Errors
/// One line: it cannot be used.
pub fn client(config: Config) -> Result<Client, Failure> {
    Client::try_from(config).map_err(|error| {
        let why = told(&error);
        Failure::usage(format_args!("the Kubernetes API cannot be used: {why}"))
    })
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

/// What is to be known of the JoinTokens of a former store that were not handed down by its founding ConfigMap. A cluster that
/// cannot be asked is not worth a failure: the operator says the same.
pub async fn left_alone(cluster: &Cluster, former: StoreId) -> Option<String> {
    let inherited = cluster.object.inherited().await.ok()?;
    (!inherited.contains(&former)).then(|| {
        format!(
            "the JoinTokens of store {former} are left alone, since the founding ConfigMap that it goes by was not there to be exchanged, and so it may live on elsewhere: \
             if it is gone for good, start the operator once with --take-over {former}"
        )
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
