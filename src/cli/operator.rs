//! `jointoken operator`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use kube::Client;

use super::config::{self, LimitsConfig, NodeDbConfig, ServerConfig};
use super::duration::HumanDuration;
use super::exit::{EXIT_CODES, Exit, Failure};
use super::group::{self, PeersConfig};
use super::kubernetes::{Access, PREFIX};
use super::logging::LogArgs;
use super::output::Output;
use super::patience::Patience;
use super::readable;
use super::server::{Ground, Replica};
use super::statuses::{Statuses, TakeOver};
use super::stop;
use crate::controller::{
    ControllerConfig, FoundingConfigMap, Minting, Operator, Places, Scaling, SecretVault, is_away,
    told,
};
use crate::founding::{FoundingObject, ReachedMark};
use crate::lifecycle::NamespaceLimits;
use crate::store::PeerAddress;
use crate::token::is_node_name;

/// Runs the Kubernetes operator: the controller, the door and the store
///
/// Watches JoinToken resources, mints a token for each, keeps the tokens' state in its own store
/// and admits the machines that present them. On its first start it founds the store: CAs and
/// signing keys are made, once, as Secrets in the operator's own namespace.
// The last of a repeated flag wins, so that whoever appends flags to a chart's can change any.
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
#[command(after_long_help = format!("\
Examples:
  jointoken operator --data-dir /var/lib/jointoken --trust-domain edge.example --advertise-url https://join.edge.example:8443

{EXIT_CODES}"))]
pub struct Args {
    /// Folder that holds the store
    #[arg(
        long,
        value_name = "DIR",
        env = "JOINTOKEN_DATA_DIR",
        default_value = "/var/lib/jointoken"
    )]
    data_dir: PathBuf,
    /// Name that all certificates end in, e.g. edge.example; fixed once the store is founded
    #[arg(long, value_name = "NAME", env = "JOINTOKEN_TRUST_DOMAIN")]
    trust_domain: String,
    /// Where joiners reach the door, https://host:port; up to four, tokens carry them
    #[arg(
        long = "advertise-url",
        value_name = "URL",
        env = "JOINTOKEN_ADVERTISE_URL",
        value_delimiter = ',',
        required = true
    )]
    advertise_urls: Vec<String>,
    /// Where the door listens
    #[arg(long, value_name = "ADDRESS", default_value = config::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Where /metrics is served
    #[arg(long, value_name = "ADDRESS", default_value = config::DEFAULT_METRICS_LISTEN)]
    metrics_listen: SocketAddr,
    /// Where /livez and /readyz are served
    #[arg(long, value_name = "ADDRESS", default_value = config::DEFAULT_PROBE_LISTEN)]
    probe_listen: SocketAddr,
    /// Unix socket for `jointoken key export` [default: admin.sock in the data folder]
    #[arg(long, value_name = "PATH", env = "JOINTOKEN_ADMIN_SOCKET")]
    admin_socket: Option<PathBuf>,
    /// Namespaces whose JoinTokens are served [default: all]
    #[arg(long = "namespace", value_name = "NAMES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Class of the JoinTokens that are served: those with this spec.className [default: those without]
    #[arg(long, value_name = "NAME", env = "JOINTOKEN_CLASS")]
    class: Option<String>,
    /// Take over the JoinTokens of this store, which is gone for good: its id, as status.storeId shows it; may be repeated
    ///
    /// Its unused tokens are ended, and used JoinTokens stay used. Never name a store that an operator still serves.
    /// `unnamed` stands for the store of which statuses of an earlier release tell.
    #[arg(long, value_name = "STORE_ID", value_delimiter = ',', value_parser = TakeOver::parse)]
    take_over: Vec<TakeOver>,
    /// Namespace of the operator's own Secrets and founding ConfigMap [default: where it runs]
    #[arg(long, value_name = "NAME", env = "JOINTOKEN_SYSTEM_NAMESPACE")]
    system_namespace: Option<String>,
    /// Kubeconfig to use [default: the environment's KUBECONFIG, else the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How long a member's certificate is valid
    #[arg(long, value_name = "TIME", default_value_t = config::default_certificate_lifetime())]
    certificate_lifetime: HumanDuration,
    /// The longest that any token may live
    #[arg(long, value_name = "TIME", default_value_t = config::default_max_token_ttl())]
    max_token_ttl: HumanDuration,
    /// How many tokens of JoinTokens of one namespace may be live at once
    #[arg(long, value_name = "NUMBER", default_value_t = NamespaceLimits::default().live_tokens, value_parser = clap::value_parser!(u32).range(1..))]
    max_live_tokens_per_namespace: u32,
    /// How many names of JoinTokens of one namespace are remembered, deleted ones too
    #[arg(long, value_name = "NUMBER", default_value_t = NamespaceLimits::default().names, value_parser = clap::value_parser!(u32).range(1..))]
    max_names_per_namespace: u32,
    /// How long the name of a JoinToken that has ended is remembered [default: for ever]
    ///
    /// Then applying its old manifest again issues a new token: give a time in which nobody applies an old one.
    #[arg(long, value_name = "TIME")]
    remember_issuances: Option<HumanDuration>,
    /// Give machines of this namespace their bare node name too, if it fits the pattern; may be repeated
    #[arg(long = "bare-names", value_name = "NAMESPACE=GLOB", value_parser = bare_names)]
    bare_names: Vec<(String, String)>,
    /// Accept the join tokens of the NodeDB cluster with this secret: 32 bytes, raw or as hexadecimal digits
    #[arg(long, value_name = "FILE")]
    nodedb_secret_file: Option<PathBuf>,
    /// The longest that a NodeDB token may live
    #[arg(long, value_name = "TIME", default_value_t = config::default_nodedb_max_ttl())]
    nodedb_max_ttl: HumanDuration,
    /// Where the other replicas reach this one, host:port; one of --peers
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "JOINTOKEN_PEER_ADDRESS",
        requires = "peers"
    )]
    peer_address: Option<String>,
    /// Where all replicas are, the same list for each; the first founds [default: this one is alone]
    #[arg(
        long,
        value_name = "ADDRESSES",
        env = "JOINTOKEN_PEERS",
        value_delimiter = ',',
        requires = "peer_address"
    )]
    peers: Vec<String>,
    /// Where this replica listens for the others
    #[arg(long, value_name = "ADDRESS", default_value = group::DEFAULT_PEER_LISTEN)]
    peer_listen: SocketAddr,
    /// StatefulSet of the replicas, in the system namespace: as many of --peers as it has replicas are the group
    ///
    /// --peers is in order of the ordinals then, and the same for each replica whatever the number is. The group grows and
    /// shrinks with `kubectl scale`, by odd numbers. [default: all of --peers are the group]
    #[arg(
        long,
        value_name = "NAME",
        env = "JOINTOKEN_STATEFUL_SET",
        requires = "peers"
    )]
    stateful_set: Option<String>,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    limits: LimitsConfig,
}

fn bare_names(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((namespace, pattern)) if !namespace.is_empty() => {
            Ok((namespace.to_owned(), pattern.to_owned()))
        }
        _ => Err("write NAMESPACE=GLOB, e.g. databases=db-*".to_owned()),
    }
}

impl Args {
    fn config(&self) -> Result<ServerConfig, Failure> {
        let bare_names: BTreeMap<_, _> = self.bare_names.iter().cloned().collect();
        if bare_names.len() < self.bare_names.len() {
            return Err(Failure::usage("--bare-names names a namespace twice"));
        }
        if let Some(odd) = (self.system_namespace.as_ref()).filter(|name| !is_node_name(name)) {
            return Err(Failure::usage(format_args!(
                "{odd:?} is not the name of a namespace: --system-namespace takes the one in which the operator keeps its Secrets and its founding ConfigMap"
            )));
        }
        if let Some(odd) = self.namespaces.iter().find(|name| !is_node_name(name)) {
            return Err(Failure::usage(format_args!(
                "{odd:?} is not the name of a namespace: --namespace takes names separated by commas, and none at all stands for every namespace"
            )));
        }
        if let Some(odd) = self.class.iter().find(|name| !is_node_name(name)) {
            return Err(Failure::usage(format_args!(
                "{odd:?} is not the name of a class: use a-z, 0-9 and '-', at most 63, as spec.className does"
            )));
        }
        if self.namespaces.iter().collect::<BTreeSet<_>>().len() < self.namespaces.len() {
            return Err(Failure::usage("--namespace names a namespace twice"));
        }
        let config = ServerConfig {
            data_dir: self.data_dir.clone(),
            trust_domain: self.trust_domain.clone(),
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            probe_listen: self.probe_listen,
            advertise_urls: self.advertise_urls.clone(),
            admin_socket: self.admin_socket.clone(),
            certificate_lifetime: self.certificate_lifetime,
            max_token_ttl: self.max_token_ttl,
            namespaces: NamespaceLimits {
                live_tokens: self.max_live_tokens_per_namespace,
                names: self.max_names_per_namespace,
            },
            remember_issuances: self.remember_issuances,
            bare_names,
            keys_dir: None,
            limits: self.limits.clone(),
            is_of_flags: true,
            peers: (self.peer_address.clone()).map(|address| PeersConfig {
                listen: self.peer_listen,
                address,
                members: self.peers.clone(),
            }),
            nodedb: self
                .nodedb_secret_file
                .clone()
                .map(|secret_file| NodeDbConfig {
                    secret_file,
                    max_ttl: self.nodedb_max_ttl,
                }),
        };
        config.check().map_err(Failure::usage)?;
        Ok(config)
    }
}

/// Serves until it is told to stop.
pub async fn run(args: Args, _output: Output) -> Result<(), Failure> {
    let config = args.config()?;
    args.log.init()?;
    let served = stop::serve(start(&args, &config)).await;
    served.map_err(|failure| args.log.say(failure))
}

/// Starts, and begins again when the API server has gone meanwhile: then nothing is left running, and whatever was begun
/// is gone on with.
async fn start(args: &Args, config: &ServerConfig) -> Result<Replica, Failure> {
    let mut patience = Patience::new(config.watched());
    loop {
        let failure = match attempt(args, config, &mut patience).await {
            Ok(replica) => return Ok(replica),
            Err(failure) => failure,
        };
        let client = Access::find(args.kubeconfig.as_deref()).await?.client()?;
        let statuses = Statuses::new(&client, &args.namespaces);
        if !readable::is_away(&statuses.unreadable().await) {
            return Err(failure);
        }
        patience.wait(&failure.message).await;
    }
}

async fn attempt(
    args: &Args,
    config: &ServerConfig,
    patience: &mut Patience,
) -> Result<Replica, Failure> {
    let access = Access::find(args.kubeconfig.as_deref()).await?;
    let system_namespace = args
        .system_namespace
        .clone()
        .unwrap_or_else(|| access.default_namespace().to_owned());
    let client = access.client()?;
    let statuses = Arc::new(
        Statuses::new(&client, &args.namespaces)
            .of_class(args.class.as_deref())
            .taking_over(&args.take_over),
    );
    let object = Arc::new(FoundingConfigMap::new(
        client.clone(),
        &system_namespace,
        PREFIX,
    ));
    readable::wait_until(&statuses, &*object, patience).await?;
    let scaling = scaling(args, config, &client, &system_namespace, patience).await?;
    patience.end().await;
    let ground = Ground {
        mark: Arc::clone(&object) as Arc<dyn ReachedMark>,
        vault: Arc::new(SecretVault::new(client.clone(), &system_namespace, PREFIX)),
        object: Some(Arc::clone(&object) as Arc<dyn FoundingObject>),
        former: Some(statuses),
        // The founding object says whether there is one.
        may_found_group: true,
        list: scaling.as_ref().map(Scaling::list),
    };
    // Whom to wait for when a group is founded may change meanwhile.
    let starting = Replica::start(config, ground);
    let mut replica = match &scaling {
        None => starting.await?,
        Some(scaling) => tokio::select! {
            started = starting => started?,
            never = scaling.follow() => match never {},
        },
    };
    if let Some(scaling) = scaling {
        replica.follow(scaling);
    }
    if let Err(failure) = take_over(args, &object).await {
        replica.shut_down().await;
        return Err(failure);
    }
    let controller_config = ControllerConfig {
        namespaces: args.namespaces.clone(),
        class: args.class.clone(),
        node_names: config.bare_name_patterns().map_err(Failure::usage)?,
        instance: std::env::var("POD_NAME").ok(),
    };
    let minting = Minting {
        key: Arc::new(replica.material.resource_key.clone()),
        delivery: replica.delivery.clone(),
        door_ca_pem: replica.material.door.cert_pem(),
    };
    let watched = readable::watch_over(
        Statuses::new(&client, &args.namespaces),
        replica.metrics.controller.clone(),
        replica.stop_token().cancelled_owned(),
    );
    replica.spawn("watched namespaces", watched.map(Ok));
    let stop = replica.stop_token();
    let keys_in_order = replica.keys_in_order.clone();
    let controller = Operator::new(
        client,
        Arc::clone(&replica.store),
        controller_config,
        minting,
        Arc::clone(&replica.clock),
        replica.metrics.controller.clone(),
    )
    .with_keys_in_order(keys_in_order)
    .with_former_stores(object.former_stores());
    replica.spawn("controller", controller.run(stop.cancelled_owned()).map(Ok));
    Ok(replica)
}

/// Notes the stores that are taken over, where every replica reads it.
async fn take_over(args: &Args, object: &FoundingConfigMap) -> Result<(), Failure> {
    let ids: Vec<_> = args.take_over.iter().filter_map(TakeOver::id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let stores: Vec<_> = ids.iter().map(ToString::to_string).collect();
    tracing::info!(
        stores = stores.join(" "),
        "the JoinTokens of these stores are taken over"
    );
    let noted = object.add_former(&ids).await;
    noted.map_err(|error| Failure::new(Exit::Failed, error))
}

/// What makes the group as large as the StatefulSet is, if there is one.
async fn scaling(
    args: &Args,
    config: &ServerConfig,
    client: &Client,
    system_namespace: &str,
    patience: &mut Patience,
) -> Result<Option<Scaling>, Failure> {
    let (Some(name), Some(peers)) = (&args.stateful_set, &config.peers) else {
        return Ok(None);
    };
    loop {
        let places = peers.places().map_err(Failure::usage)?;
        let places = Places::new(places, PeerAddress::new(&peers.address));
        let begun = Scaling::begin(client.clone(), system_namespace, name, places).await;
        let error = match begun {
            Ok(scaling) => return Ok(Some(scaling)),
            Err(error) => error,
        };
        let why = told(&error);
        let what = format!("the StatefulSet {system_namespace}/{name} cannot be read: {why}");
        if !is_away(&error) {
            return Err(Failure::new(Exit::Failed, what));
        }
        patience.wait(&what).await;
    }
}
