//! `jointoken store found`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::confirm::confirm;
use super::exit::{EXIT_CODES, Exit, Failure};
use super::kubernetes::{ClusterArgs, cluster_of, left_alone, note_disbelieved};
use super::output::{self, Output};
use crate::founding::{ReplaceError, ReplaceRequest, Replacement};
use crate::pki::TrustDomain;
use crate::token::StoreId;

/// Founds a store of the operator anew, in the place of one that is lost for good
///
/// For when the data folders of an operator's store are lost and there is neither a snapshot (`store snapshot restore`) nor
/// a surviving folder (`store recover`). The founding ConfigMap is made that of a new store with a higher epoch, and the lost
/// store's CAs and signing keys are deleted. The operator, started on the data folder, makes new ones and goes on founding.
///
/// The new store knows nothing of the old one but what JoinTokens tell: none of those is issued again under the same
/// revision. No former token is accepted; machines that were admitted do not trust the machines of the new store.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken store found --replace-lost 5f0c…91 --data-dir /mnt/data-0 --trust-domain edge.example --system-namespace jointoken-system

{EXIT_CODES}"))]
pub struct Args {
    /// The lost store, as the founding ConfigMap names it
    #[arg(long, value_name = "STORE_ID", required = true)]
    replace_lost: StoreId,
    /// The data folder of the operator's first replica, with nothing in it
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The trust domain that the operator is started with
    #[arg(long, value_name = "NAME", env = "JOINTOKEN_TRUST_DOMAIN")]
    trust_domain: TrustDomain,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The new store's epoch is above this one, too
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch_above: u64,
    /// Does not ask
    #[arg(long)]
    yes: bool,
}

/// What it came to. Fields are kept from release to release.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replaced<'a> {
    #[serde(serialize_with = "output::path")]
    data_dir: &'a Path,
    store_id: String,
    epoch: u64,
    lost_store_id: String,
    /// For people alone.
    #[serde(skip)]
    left_alone: Option<String>,
}

impl fmt::Display for Replaced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "store {} in epoch {} takes the place of {}: empty the data folders of other replicas, and start the operator with {} as its first one's to end its founding",
            self.store_id,
            self.epoch,
            self.lost_store_id,
            self.data_dir.display()
        )?;
        match &self.left_alone {
            Some(left_alone) => write!(f, "\n{left_alone}"),
            None => Ok(()),
        }
    }
}

/// Makes room for it.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let cluster = cluster_of(&args.cluster).await?;
    let request = ReplaceRequest {
        data: args.data_dir.clone(),
        cluster: cluster.clone(),
        lost: args.replace_lost,
        trust_domain: args.trust_domain.clone(),
        epoch_above: args.epoch_above,
    };
    let replacement = Replacement::of(request).await.map_err(failed)?;
    note_disbelieved(replacement.disbelieved());
    let founding = replacement.founding();
    if !args.yes {
        let meaning = format!(
            "This gives up store {} for a new one, {}, in epoch {}.\n\
             - The names of the new store's machines end in {}, for good.\n\
             - The lost store's CAs and signing keys are deleted: no snapshot of it can be restored afterwards, unless they are in a backup.\n\
             - No token of it is accepted any more. Machines that were admitted keep their certificates, which the new store's machines do not trust.\n\
             - JoinTokens that have a status say that they need a higher revision.",
            args.replace_lost, founding.store_id, founding.epoch, args.trust_domain,
        );
        let question = format!("Found it in {}?", args.data_dir.display());
        let unasked = "the CAs and signing keys of the lost store are deleted for good";
        confirm(&meaning, &question, unasked)?;
    }
    let founding = replacement.carry_out().await.map_err(failed)?;
    output.report(&Replaced {
        data_dir: &args.data_dir,
        store_id: founding.store_id.to_string(),
        epoch: founding.epoch,
        lost_store_id: args.replace_lost.to_string(),
        left_alone: left_alone(&cluster, args.replace_lost).await,
    });
    Ok(())
}

fn failed(error: ReplaceError) -> Failure {
    let exit = match error.is_about_input() {
        true => Exit::Usage,
        false => Exit::Failed,
    };
    Failure::new(exit, error)
}
