//! `jointoken store recover`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::checksum;
use super::clock::ClockArgs;
use super::restore::{Former, home, restore};
use crate::cli::exit::{EXIT_CODES, Exit, Failure};
use crate::cli::kubernetes::ClusterArgs;
use crate::cli::output::Output;
use crate::founding::RestoreRequest;
use crate::store::disk::{Disk, RealDisk};
use crate::store::{Backup, OpenError, Survivor, file_trouble};

/// Makes a new store of what one replica has left, when the rest of its group is lost for good
///
/// Does what `store snapshot restore` does, with the newest snapshot that there can be: all that is in the surviving
/// replica's data folder, also entries at its end that it does not know to be committed. What the group has committed without
/// this replica is lost: who was admitted then is not known to the new store. The replica must not run; its folder is only
/// read. A lone replica whose folder is whole needs no recovery: start it.
///
/// With --system-namespace the store is an operator's, as for `store snapshot restore`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken store recover /var/lib/jointoken.lost --data-dir /var/lib/jointoken

{EXIT_CODES}"))]
pub struct Args {
    /// The surviving replica's data folder
    #[arg(value_name = "SURVIVOR")]
    survivor: PathBuf,
    /// The new store's data folder, with nothing in it
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The former store's keys, which are only read [default: keys in the surviving data folder]
    #[arg(long, value_name = "DIR", conflicts_with = "system_namespace")]
    keys_dir: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The new store's epoch is above this one, too
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch_above: u64,
    #[command(flatten)]
    clock: ClockArgs,
    /// Does not ask
    #[arg(long)]
    yes: bool,
}

/// Recovers.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    fs::metadata(&args.survivor).map_err(|error| {
        let (path, why) = (&args.survivor, file_trouble(&error, &args.survivor));
        Failure::usage(format_args!("cannot read {}: {why}", path.display()))
    })?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let survivor = Survivor::read(&disk, &args.survivor.join("store")).map_err(failed)?;
    let uncommitted = match survivor.uncommitted {
        0 => String::new(),
        some => format!(
            ", of which the last {some} may not have been committed and are taken as if they were"
        ),
    };
    // The state's own time: the same folder comes to the same backup whenever it is read.
    let taken_at_ms = survivor.state.now_ms();
    let backup = Backup::of(survivor.index, taken_at_ms, survivor.state).map_err(|error| {
        Failure::usage(format_args!(
            "there is nothing to recover in {}, {error} there: it is that of a replica that was never let into its group. Is there another folder, or a snapshot?",
            args.survivor.display()
        ))
    })?;
    let founded = backup.founded();
    let former = Former {
        origin: format!(
            "what {} has of store {} (epoch {}), up to entry {}{uncommitted}; what was committed without it is lost",
            args.survivor.display(),
            founded.store_id,
            founded.epoch,
            backup.index(),
        ),
        sha256: checksum(&backup.encode()),
        backup,
    };
    let keys = args.keys_dir.unwrap_or_else(|| args.survivor.join("keys"));
    let request = RestoreRequest {
        data: args.data_dir,
        home: home(&args.cluster, keys).await?,
        epoch_above: args.epoch_above,
        clock_ms: args.clock.to_ms(&former.backup)?,
    };
    restore(&former, request, args.yes, output).await
}

fn failed(error: OpenError) -> Failure {
    let what_to_do = match error {
        OpenError::Locked { .. } => "stop it first, and all other replicas",
        OpenError::NotFounded { .. } => {
            "give the data folder of a replica, in which there is a folder `store`"
        }
        error => return Failure::new(Exit::Failed, error),
    };
    Failure::usage(format_args!("{error}; {what_to_do}"))
}
