//! `jointoken store snapshot restore`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::clock::{self, ClockArgs};
use super::contents::{Key, Tokens, age, signing_keys};
use crate::cli::confirm::confirm;
use crate::cli::exit::{EXIT_CODES, Exit, Failure};
use crate::cli::kubernetes::{ClusterArgs, left_alone, note_disbelieved};
use crate::cli::output::{self, Output, note};
use crate::founding::{Home, Prospect, Report, RestoreError, RestoreRequest};
use crate::store::Backup;

/// Makes a new store from a snapshot, in the empty data folder of a replica that does not run
///
/// The new store has another id and a higher epoch. Every token that was unused in the snapshot is ended (restored), since
/// it may have been used after the snapshot was made; for the same reason no token, exported key or NodeDB secret of the
/// former store is accepted any more. Machines that were admitted stay admitted: the CAs are kept, so the backup of the keys
/// has to be at hand, and only the signing keys are made anew. Afterwards start `jointoken serve` on the folder.
///
/// With --system-namespace the store is an operator's: its Secrets and its founding ConfigMap become those of the new store,
/// which takes an epoch above all that JoinTokens tell of. The data folder is the (mounted) one of the first replica; scale
/// the operator to 0 before, and empty the folders of the other replicas. What is interrupted is finished by the same command.
///
/// The former store must not run again beside the new one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken store snapshot restore jointoken.snapshot --data-dir /var/lib/jointoken --keys-dir /backup/keys
  jointoken store snapshot restore jointoken.snapshot --data-dir /var/lib/jointoken --yes
  jointoken store snapshot restore jointoken.snapshot --data-dir /mnt/data-0 --system-namespace jointoken-system

{EXIT_CODES}"))]
pub struct Args {
    /// The snapshot
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data folder, with nothing in it but the keys if they are there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The backup of the former store's keys, which is only read unless it is in the data folder, where it is put aside
    /// [default: keys in the data folder]
    #[arg(long, value_name = "DIR", conflicts_with = "system_namespace")]
    keys_dir: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The new store's epoch is above this one, too: for what tells of a later epoch than the snapshot
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch_above: u64,
    #[command(flatten)]
    clock: ClockArgs,
    /// Does not ask
    #[arg(long)]
    yes: bool,
}

/// What a restore came to. Fields are kept from release to release.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Restored<'a> {
    #[serde(serialize_with = "output::path")]
    data_dir: &'a Path,
    store_id: String,
    epoch: u64,
    former_store_id: String,
    former_epoch: u64,
    index: u64,
    ended_tokens: u64,
    /// Refused from now on.
    retired_keys: Vec<Key>,
    /// For people alone.
    #[serde(skip)]
    in_cluster: bool,
    #[serde(skip)]
    left_alone: Option<String>,
}

impl fmt::Display for Restored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "restored as store {} in epoch {}, from store {} (epoch {}) at entry {}; {} unused tokens ended",
            self.store_id,
            self.epoch,
            self.former_store_id,
            self.former_epoch,
            self.index,
            self.ended_tokens
        )?;
        for key in &self.retired_keys {
            writeln!(f, "retired {} {}", key.fingerprint, key.name)?;
        }
        if self.in_cluster {
            write!(
                f,
                "empty the data folders of other replicas, start the operator with {} as its first one's, export keys anew and give NodeDB a new secret; then take a backup of its Secrets",
                self.data_dir.display()
            )?;
            return match &self.left_alone {
                Some(left_alone) => write!(f, "\n{left_alone}"),
                None => Ok(()),
            };
        }
        write!(
            f,
            "export keys anew and give NodeDB a new secret; then start `jointoken serve` on {}, and take a backup of its keys. \
             Of a group: before that move the folder `keys` in it to where keysDir says, for all replicas, and empty the data folders of the others",
            self.data_dir.display()
        )
    }
}

/// Restores.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let (backup, sha256) = super::read(&args.file)?;
    let founded = backup.founded();
    let origin = format!(
        "the snapshot of store {} (epoch {}), taken {} up to entry {}",
        founded.store_id,
        founded.epoch,
        age(&backup),
        backup.index(),
    );
    let former = Former {
        backup,
        sha256,
        origin,
    };
    let keys = args.keys_dir.unwrap_or_else(|| args.data_dir.join("keys"));
    let request = RestoreRequest {
        data: args.data_dir,
        home: home(&args.cluster, keys).await?,
        epoch_above: args.epoch_above,
        clock_ms: args.clock.to_ms(&former.backup)?,
    };
    restore(&former, request, args.yes, output).await
}

/// Where the keys are: in the cluster that is meant, or in this folder.
pub(super) async fn home(cluster: &ClusterArgs, keys: PathBuf) -> Result<Home, Failure> {
    let cluster = cluster.cluster().await?;
    Ok(cluster.map_or(Home::Folder(keys), Home::Cluster))
}

/// What a new store is made of.
pub(super) struct Former {
    pub backup: Backup,
    /// Identifies it.
    pub sha256: String,
    /// What it is, for people.
    pub origin: String,
}

/// Asks, unless `yes`, restores, and prints what came of it.
pub(super) async fn restore(
    former: &Former,
    request: RestoreRequest,
    yes: bool,
    output: Output,
) -> Result<(), Failure> {
    let Former { backup, sha256, .. } = former;
    let data = request.data.clone();
    let cluster = match &request.home {
        Home::Cluster(cluster) => Some(cluster.clone()),
        Home::Folder(_) => None,
    };
    let clock = request.clock_ms.map(|to_ms| clock::meaning(backup, to_ms));
    let prospect = Prospect::of(backup, sha256, request)
        .await
        .map_err(failed)?;
    note_disbelieved(prospect.disbelieved());
    if !yes {
        ask(former, &prospect, &data, clock.as_deref())?;
    }
    for signing_key in prospect.notes() {
        note(&format_args!("note: {signing_key}; it is made anew anyway"));
    }
    let report = prospect.carry_out().await.map_err(failed)?;
    let mut restored = restored(backup, &report, &data);
    if let Some(cluster) = cluster {
        restored.in_cluster = true;
        restored.left_alone = left_alone(&cluster, report.former_store_id).await;
    }
    output.report(&restored);
    Ok(())
}

/// Says what restoring means, and asks.
fn ask(
    former: &Former,
    prospect: &Prospect,
    data: &Path,
    clock: Option<&str>,
) -> Result<(), Failure> {
    let mut meaning = meaning(former, prospect);
    if let Some(clock) = clock {
        meaning = format!("{meaning}\n- {clock}");
    }
    confirm(
        &meaning,
        &format!("Restore into {}?", data.display()),
        "restoring ends all unused tokens of the store and retires its signing keys",
    )
}

fn meaning(Former { backup, origin, .. }: &Former, prospect: &Prospect) -> String {
    let tokens = Tokens::of(backup.state());
    let begun = match prospect {
        Prospect::Restore(_) => "",
        Prospect::Finish(_) => "A restore of it was interrupted and will be finished.\n",
    };
    format!(
        "This makes a new store of {origin}.\n{begun}\
         - {} unused tokens are ended: each may have been used since. No token of the former store is accepted any more.\n\
         - {} admissions stay on record. Machines that were admitted since keep their certificates until those end; the new store does not know them and cannot bar them.\n\
         - The CAs stay. The signing keys are made anew: keys that were exported, and NodeDB's secret, are refused for good.\n\
         - The former store must not run again, not even for a moment: it would admit machines by tokens of its own.",
        tokens.live(),
        tokens.consumed,
    )
}

fn restored<'a>(backup: &Backup, report: &Report, data_dir: &'a Path) -> Restored<'a> {
    let made = backup.founded().fingerprints.iter();
    let signing = made.filter(|(role, _)| !role.ends_with("-ca"));
    let signing = signing.map(|(role, print)| Key {
        name: role.clone(),
        fingerprint: print.to_string(),
    });
    let mut retired_keys: Vec<Key> = signing.collect();
    for key in signing_keys(backup.state()) {
        let is_listed = |listed: &Key| listed.fingerprint == key.fingerprint;
        if !retired_keys.iter().any(is_listed) {
            retired_keys.push(key);
        }
    }
    Restored {
        data_dir,
        store_id: report.store_id.to_string(),
        epoch: report.epoch,
        former_store_id: report.former_store_id.to_string(),
        former_epoch: report.former_epoch,
        index: report.index,
        ended_tokens: report.ended,
        retired_keys,
        in_cluster: false,
        left_alone: None,
    }
}

fn failed(error: RestoreError) -> Failure {
    let exit = if error.is_about_input() {
        Exit::Usage
    } else {
        Exit::Failed
    };
    Failure::new(exit, error)
}
