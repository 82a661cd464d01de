//! The way to a Kubernetes API, and to what an operator keeps there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::config::InClusterError;
use kube::{Client, Config};

use super::exit::Failure;
use super::kubeconfig::Found;
use super::output::note;
use super::proxy::ProxyEnvironment;
use super::statuses::Statuses;
use crate::controller::{
    ApiProxy, Deadlines, FoundingConfigMap, SecretVault, told, told_of_credentials,
};
use crate::founding::{Cluster, Disbelieved, whole};
use crate::net::file_words;
use crate::token::{StoreId, is_node_name};

/// What the names of the operator's own objects begin with.
pub const PREFIX: &str = "jointoken";

/// By what the API server's own log and its flow control know us.
const AGENT: &str = concat!("jointoken/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take to be made, and how long nothing may be taken of what is sent.
const CONNECT: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(15);

/// A way to a Kubernetes API.
pub struct Access {
    config: Config,
    /// What messages call the kubeconfig; `None`: a pod's service account.
    kubeconfig: Option<String>,
    /// The program that gives the credentials.
    plugin: Option<String>,
    proxy: Option<ApiProxy>,
}

impl Access {
    /// By this kubeconfig, or by whatever the environment offers.
    ///
    /// # Errors
    /// One line: there is none that can be used.
    pub async fn find(kubeconfig: Option<&Path>) -> Result<Self, Failure> {
        let mut access = match Found::read(kubeconfig)? {
            Some(found) => Self::by(found).await?,
            None => Self {
                config: Config::incluster().map_err(|error| no_way(&error))?,
                kubeconfig: None,
                plugin: None,
                proxy: None,
            },
        };
        let agent = (USER_AGENT, HeaderValue::from_static(AGENT));
        access.config.headers.push(agent);
        // Of the answer, and of a watch, the client's own deadlines see to it.
        access.config.connect_timeout = Some(CONNECT);
        access.config.write_timeout = Some(WRITE);
        Ok(access)
    }

    async fn by(found: Found) -> Result<Self, Failure> {
        let mut config = found.config().await?;
        let environment = ProxyEnvironment::read();
        let of_kubeconfig = found.proxy_url().filter(|url| !url.is_empty());
        let proxy = environment.proxy_for(&config.cluster_url, of_kubeconfig);
        config.proxy_url = proxy.map_err(Failure::usage)?;
        let named_by = match of_kubeconfig {
            Some(_) => "proxy-url in the kubeconfig",
            None => "HTTPS_PROXY",
        };
        let proxy = config.proxy_url.as_ref();
        Ok(Self {
            proxy: proxy.map(|url| ApiProxy::new(url, named_by)),
            plugin: found.plugin().map(str::to_owned),
            kubeconfig: Some(found.name),
            config,
        })
    }

    /// The namespace that counts where none is named.
    pub fn default_namespace(&self) -> &str {
        &self.config.default_namespace
    }

    /// A client for it.
    ///
    /// # Errors
    /// One line: it cannot be used.
    pub fn client(self) -> Result<Client, Failure> {
        let client = match self.proxy {
            None => ClientBuilder::try_from(self.config)
                .map(|builder| builder.with_layer(&Deadlines).build()),
            Some(proxy) => proxy.client(self.config),
        };
        client.map_err(|error| {
            let name = self.kubeconfig.as_deref();
            let name = name.unwrap_or("the pod's service account");
            let plugin = self.plugin.map_or_else(String::new, |plugin| {
                format!(" of its current context, which the command {plugin} is to give")
            });
            Failure::usage(match &error {
                kube::Error::Auth(error) => {
                    let why = told_of_credentials(error);
                    format!("{name} gives no credentials{plugin}: {why}")
                }
                kube::Error::RustlsTls(_) => format!(
                    "{name} cannot be used: its client certificate, client key or certificate-authority is not what it should be. Get it anew, or mend that entry ({})",
                    told(&error)
                ),
                error => format!("{name} cannot be used: {}", told(error)),
            })
        })
    }
}

/// No kubeconfig was found, and here is no pod, or not all that one is given.
fn no_way(error: &InClusterError) -> Failure {
    let why = match error {
        InClusterError::ReadEnvironmentVariable(_) => "this is no pod".to_owned(),
        InClusterError::ReadDefaultNamespace(error)
        | InClusterError::ReadCertificateBundle(error) => format!(
            "what a pod has of its service account cannot be read here, {}: is automountServiceAccountToken off?",
            file_words(error)
        ),
        error => format!(
            "this pod's way to the API server makes no sense, {}",
            whole(error)
        ),
    };
    Failure::usage(format_args!(
        "there is no way to a Kubernetes API: no kubeconfig is named, there is none in the home folder, and {why}. Give --kubeconfig, set KUBECONFIG, or run in a pod with a service account"
    ))
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

/// Says which statuses do not count for the new store's epoch, before anything is asked or done.
pub fn note_disbelieved(disbelieved: Option<&Disbelieved>) {
    if let Some(disbelieved) = disbelieved {
        note(&format_args!(
            "note: {disbelieved}. If there really was a store of that epoch, run this again with --epoch-above {}",
            disbelieved.told.epoch
        ));
    }
}

async fn cluster(namespace: &str, args: &ClusterArgs) -> Result<Cluster, Failure> {
    let named = args.namespaces.iter().map(String::as_str);
    let mut named = named.chain([namespace]);
    if let Some(odd) = named.find(|name| !is_node_name(name)) {
        return Err(Failure::usage(format_args!(
            "{odd:?} is not the name of a namespace"
        )));
    }
    let client = Access::find(args.kubeconfig.as_deref()).await?.client()?;
    let statuses = Statuses::new(&client, &args.namespaces);
    statuses.check().await?;
    Ok(Cluster {
        vault: Arc::new(SecretVault::new(client.clone(), namespace, PREFIX)),
        object: Arc::new(FoundingConfigMap::new(client, namespace, PREFIX)),
        former: Arc::new(statuses),
    })
}
