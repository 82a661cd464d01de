//! The lifecycle's state as openraft's state machine.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::{AsyncRuntime, OptionalSend, RaftSnapshotBuilder};

use crate::lifecycle::{Command, State};

use super::audit::Auditor;
use super::live::Live;
use super::peers::Forwards;
use super::rounds::Rounds;
use super::snapshot::{Image, Snapshots, StoredSnapshot};
use super::types::{
    LeaderId, LogId, Member, NodeId, Payload, SnapshotMeta, StoredMembership, TypeConfig,
};

type RaftSnapshot = Snapshot<LeaderId, NodeId, Member, Image>;

/// What was applied, beside the state itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Applied {
    pub last: Option<LogId>,
    pub membership: StoredMembership,
    /// Who was a member once and is none any more: their names are never used again.
    pub removed: BTreeSet<NodeId>,
}

impl Applied {
    fn take_members(&mut self, membership: StoredMembership) {
        let nodes = |of: &StoredMembership| -> BTreeSet<NodeId> {
            of.membership().nodes().map(|(node, _)| *node).collect()
        };
        let now = nodes(&membership);
        let gone = nodes(&self.membership);
        self.removed.extend(gone.difference(&now));
        self.membership = membership;
    }
}

/// What the machine shares with the rest of the replica.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub applied: Arc<Mutex<Applied>>,
    pub forwards: Arc<Forwards>,
    pub rounds: Arc<Rounds>,
}

impl Shared {
    pub(crate) fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lifecycle's state as openraft's state machine. The state lives in memory; on the disk are
/// snapshots of it, and the log from there on.
pub(crate) struct Machine<Rt> {
    live: Arc<Live>,
    shared: Shared,
    snapshots: Snapshots,
    audit: Auditor,
    runtime: PhantomData<fn() -> Rt>,
}

impl<Rt: AsyncRuntime> Machine<Rt> {
    /// Nothing is applied yet: openraft installs the current snapshot, if there is one.
    pub(crate) fn new(
        live: Arc<Live>,
        shared: Shared,
        snapshots: Snapshots,
        audit: Auditor,
    ) -> Self {
        Self {
            live,
            shared,
            snapshots,
            audit,
            runtime: PhantomData,
        }
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.shared.applied()
    }
}

impl<Rt: AsyncRuntime> RaftStateMachine<TypeConfig<Rt>> for Machine<Rt> {
    type SnapshotData = Image;
    type SnapshotBuilder = Builder<Rt>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.applied().clone();
        Ok((applied.last, applied.membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig<Rt>>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let committed = match &entry.payload {
                Payload::Blank => None,
                Payload::Normal(proposal) => {
                    check_rules(&proposal.0)?;
                    // A panic here would end this task alone and leave a leader that answers nobody.
                    let apply = || self.live.apply(entry.log_id.index, &proposal.0);
                    let applied = catch_unwind(AssertUnwindSafe(apply));
                    let (committed, change) =
                        applied.map_err(|_| io::Error::other("applying a command panicked"))?;
                    if let Some(change) = change {
                        self.audit.tell(change).await;
                    }
                    Some(committed)
                }
                Payload::Membership(membership) => {
                    let membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    self.applied().take_members(membership);
                    None
                }
            };
            self.applied().last = Some(entry.log_id);
            let index = entry.log_id.index;
            if Rounds::is_round(index) {
                self.shared.rounds.note(index, self.live.read().hash());
            }
            match responder {
                Some(responder) => responder.send(committed),
                None => self
                    .shared
                    .forwards
                    .applied(entry.log_id, committed.as_ref()),
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<Rt> {
        let applied = self.applied().clone();
        Builder {
            // A copy, so that `apply` need not wait for the encoding and the disk.
            state: Arc::new(self.live.read().clone()),
            meta: SnapshotMeta {
                last_log_id: applied.last,
                last_membership: applied.membership,
            },
            removed: applied.removed,
            snapshots: self.snapshots.clone(),
            told: self.audit.told(),
            audit: self.audit.clone(),
            runtime: PhantomData,
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: Image) -> io::Result<()> {
        let removed = image.removed.clone();
        let snapshot = StoredSnapshot {
            meta: meta.clone(),
            image,
        };
        let snapshots = self.snapshots.clone();
        let state = Rt::spawn_blocking(move || {
            let state = State::decode(&snapshot.image.state).map_err(invalid)?;
            // When it comes from the disk, at the start, it need not be written again.
            let current = snapshots.load().map_err(invalid)?;
            if current.is_none_or(|current| current.meta != snapshot.meta) {
                snapshots.save(&snapshot)?;
            }
            Ok::<_, io::Error>(state)
        })
        .await??;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.audit.tell_restoration(&state).await;
        self.live.replace(index, state);
        {
            let mut applied = self.applied();
            applied.take_members(meta.last_membership.clone());
            applied.removed.extend(&removed);
            applied.last = meta.last_log_id;
        }
        self.shared.forwards.replaced(index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let snapshots = self.snapshots.clone();
        let stored = Rt::spawn_blocking(move || snapshots.load().map_err(invalid)).await??;
        Ok(stored.map(|stored| Snapshot {
            meta: stored.meta,
            snapshot: stored.image,
        }))
    }
}

/// Writes a snapshot of the state as it was when the builder was made.
pub(crate) struct Builder<Rt> {
    state: Arc<State>,
    meta: SnapshotMeta,
    removed: BTreeSet<NodeId>,
    snapshots: Snapshots,
    /// The last change in it: it must be written down before the log may lose it.
    told: u64,
    audit: Auditor,
    runtime: PhantomData<fn() -> Rt>,
}

impl<Rt: AsyncRuntime> RaftSnapshotBuilder<TypeConfig<Rt>> for Builder<Rt> {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        self.audit.wait_for(self.told).await?;
        let state = self.state.clone();
        let meta = self.meta.clone();
        let removed = self.removed.clone();
        let snapshots = self.snapshots.clone();
        let stored = Rt::spawn_blocking(move || {
            let stored = StoredSnapshot {
                meta,
                image: Image {
                    state: Arc::new(state.encode()),
                    removed,
                },
            };
            snapshots.save(&stored)?;
            Ok::<_, io::Error>(stored)
        })
        .await??;
        Ok(Snapshot {
            meta: stored.meta,
            snapshot: stored.image,
        })
    }
}

/// Whoever does not know the rules that the group goes by must not go on by others.
fn check_rules(command: &Command) -> io::Result<()> {
    match unknown_rules(command) {
        Some(rules) => Err(io::Error::other(format!(
            "the group goes by rules {rules} from here on, and this release knows them up to {}: use the release that the others have",
            State::newest_rules()
        ))),
        None => Ok(()),
    }
}

/// The rules that the command puts in force or goes by, if this release does not know them.
pub(crate) fn unknown_rules(command: &Command) -> Option<u32> {
    let rules = command.operation.needs_rules();
    rules.filter(|rules| *rules > State::newest_rules())
}

fn invalid(error: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
