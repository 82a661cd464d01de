//! `jointoken serve`.

use std::path::PathBuf;
use std::sync::Arc;

use super::config::ServerConfig;
use super::exit::{EXIT_CODES, Failure};
use super::logging::LogArgs;
use super::output::Output;
use super::server::{Ground, Replica};
use super::stop;
use crate::founding::{FolderVault, ReachedFile};

/// Runs the door and its store without Kubernetes
///
/// An empty data folder is founded: its CAs and signing keys are made, once, in the folder `keys`
/// beside the store. Keep a copy of `keys`; but never start on an older copy of the store, in which
/// tokens that were used since are unused. Tokens are minted offline: `jointoken key export`, then
/// `jointoken create`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
The configuration file, with the defaults of what may be left out:
  dataDir: /var/lib/jointoken         # required
  trustDomain: edge.example           # required; fixed once founded
  advertiseUrls:                      # required: one to four; tokens carry them
    - https://join.edge.example:8443
  listen: \"[::]:8443\"
  metricsListen: 127.0.0.1:9090       # /metrics
  probeListen: 127.0.0.1:8081         # /livez, /readyz
  adminSocket: /var/lib/jointoken/admin.sock
  keysDir: /var/lib/jointoken/keys    # required of a group: outside of dataDir, the same on all
  peers:                              # left out: this replica is alone
    address: a.edge.example:9443      # where the others reach this one
    members:                          # the same list on each; the first founds, with --new-group
      - a.edge.example:9443
      - b.edge.example:9443
      - c.edge.example:9443
    listen: \"[::]:9443\"
  certificateLifetime: 7d
  maxTokenTtl: 7d
  bareNames: {{}}                       # namespace: pattern
  nodedb:                             # left out: NodeDB tokens are refused
    secretFile: /etc/jointoken/nodedb.secret
    maxTtl: 1h
  limits:                             # what protects the door; see \"Limits\" in docs/operations.md
    connections: 2048                 # at one time: memory and file descriptors
    connectionsPerSource: 256         # of an IPv4 address or IPv6 /64: the other sources
    keptConnectionsPercent: 50        # never closed for others: admissions under way, and newcomers from them
    concurrentHandshakes: 4           # at one time, in turn by source: the CPU. Left out: two for each CPU
    requestsPerConnection: 16         # bandwidth; joining takes three
    proxyProtocolFrom: []             # CIDRs of load balancers that send the PROXY protocol, version 2

{EXIT_CODES}"))]
pub struct Args {
    /// The configuration file, YAML
    #[arg(long, value_name = "FILE", default_value = "/etc/jointoken/serve.yaml")]
    config: PathBuf,
    /// Found the group that the configuration lists: given once, to the first of the list, when there is no group yet
    #[arg(long)]
    new_group: bool,
    #[command(flatten)]
    log: LogArgs,
}

/// Serves until it is told to stop.
pub async fn run(args: Args, _output: Output) -> Result<(), Failure> {
    let config = ServerConfig::read(&args.config).map_err(Failure::usage)?;
    if args.new_group && config.peers.is_none() {
        return Err(Failure::usage(
            "--new-group founds a group, and the configuration names no peers: leave it out, a lone replica founds by itself",
        ));
    }
    let keys = config.keys_folder().map_err(Failure::usage)?;
    args.log.init()?;
    let ground = Ground {
        mark: Arc::new(ReachedFile::new(&keys)),
        vault: Arc::new(FolderVault::new(keys)),
        object: None,
        former: None,
        may_found_group: args.new_group,
        list: None,
    };
    let served = stop::serve(Replica::start(&config, ground)).await;
    served.map_err(|failure| args.log.say(failure))
}
