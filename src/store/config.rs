//! How a store is set up.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::faults::{self, Fault};
use crate::lifecycle::Settings;
use crate::token::StoreId;

use super::{AuditSink, OpenError, PeerAddress, Transport, Witness};

/// How a store is set up.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The data folder: `identity`, `lock`, `log/`, `snapshots/`.
    pub data_dir: PathBuf,
    /// The limits that this replica puts in force when it leads.
    pub settings: Settings,
    /// A folder of another store is refused.
    pub expected_store: Option<StoreId>,
    /// Is told every change, at least once; `None`: there is no audit.
    pub audit: Option<AuditSink>,
    /// The other replicas and the way to them; `None`: this one is alone.
    pub group: Option<GroupConfig>,
    /// What tells, outside of the folder, how far the log has been: a lone replica with a log that ends earlier is refused, and
    /// one of a group does not campaign until it has caught up.
    pub witnesses: Vec<Witness>,
    /// A segment of the log that has grown to this many bytes gets a successor.
    pub segment_bytes: u64,
    /// A snapshot is due when the log has grown by this many bytes since the last one, or by as
    /// many as that one had, whichever is more: so what is written stays within a factor of two.
    pub snapshot_after_bytes: u64,
    /// So many entries stay in the log though they are in the snapshot, for replicas that lag a little.
    pub keep_entries: u64,
    /// After this long an answer is no longer waited for: it is not known what became of the proposal.
    pub answer_timeout: Duration,
}

/// The group that a replica is of, or is to be of.
#[derive(Clone)]
pub struct GroupConfig {
    /// Where the others reach this one; its certificate proves it.
    pub address: PeerAddress,
    /// Where all replicas should be, as of now. While a group is founded this one is among them.
    pub list: watch::Receiver<BTreeSet<PeerAddress>>,
    /// The way to them.
    pub transport: Arc<dyn Transport>,
}

impl fmt::Debug for GroupConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConfig")
            .field("address", &self.address)
            .field("list", &*self.list.borrow())
            .finish_non_exhaustive()
    }
}

impl StoreConfig {
    /// The usual figures for a folder.
    pub fn new(data_dir: impl Into<PathBuf>, settings: Settings) -> Self {
        Self {
            data_dir: data_dir.into(),
            settings,
            expected_store: None,
            audit: None,
            group: None,
            witnesses: Vec::new(),
            segment_bytes: 8 << 20,
            snapshot_after_bytes: 16 << 20,
            keep_entries: 1_000,
            answer_timeout: Duration::from_secs(10),
        }
    }

    pub(crate) fn raft(&self, may_campaign: bool) -> Result<Arc<openraft::Config>, OpenError> {
        // Refused by the state they would only be logged, while others stay in force.
        self.settings.check()?;
        let config = openraft::Config {
            cluster_name: "jointoken".into(),
            heartbeat_interval: 200,
            election_timeout_min: 800,
            election_timeout_max: 1_600,
            // A restarted leader that lost its unsynced tail would reuse log ids of its old term.
            enable_leader_restore: Some(faults::is_on(Fault::LeaderRestore)),
            enable_pre_vote: Some(true),
            enable_elect: may_campaign,
            // A member that was set back is sent again what it had acknowledged: see `peers/link.rs` for when it is believed.
            allow_log_reversion: Some(true),
            quorum_loss_probe_interval: Some(4_000),
            // By size, which openraft does not know: see the duties.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.keep_entries,
            ..openraft::Config::default()
        };
        let config = config.validate();
        config
            .map(Arc::new)
            .map_err(|error| OpenError::Start(error.to_string()))
    }
}
