//! `jointoken serve`.

use std::path::PathBuf;
use std::sync::Arc;

use super::config::ServerConfig;
use super::exit::{EXIT_CODES, Failure};
use super::logging::LogArgs;
use super::output::Output;
use super::server::{Ground, Replica};
use super::stop;
use crate::founding::FolderVault;

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
  metricsListen: 127.0.0.1:9090       # /metrics, /livez, /readyz
  adminSocket: /var/lib/jointoken/admin.sock
  certificateLifetime: 7d
  maxTokenTtl: 7d
  bareNames: {{}}                       # namespace: pattern
  nodedb:                             # left out: NodeDB tokens are refused
    secretFile: /etc/jointoken/nodedb.secret
    maxTtl: 1h

{EXIT_CODES}"))]
pub struct Args {
    /// The configuration file, YAML
    #[arg(long, value_name = "FILE", default_value = "/etc/jointoken/serve.yaml")]
    config: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

/// Serves until it is told to stop.
pub async fn run(args: Args, _output: Output) -> Result<(), Failure> {
    let config = ServerConfig::read(&args.config).map_err(Failure::usage)?;
    args.log.init()?;
    let ground = Ground {
        vault: Arc::new(FolderVault::new(config.data_dir.join("keys"))),
        object: None,
        former: None,
    };
    let served = stop::serve(Replica::start(&config, ground)).await;
    served.map_err(|failure| args.log.say(failure))
}
