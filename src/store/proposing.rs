//! Proposals and reads: stamped and committed by the leader, and forwarded to it by everybody else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{Either, select};
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::{AsyncRuntime, ReadPolicy};

use crate::clock::Clock;
use crate::faults::{self, Fault};
use crate::lifecycle::{Command, Operation};

use super::group_clock::GroupClock;
use super::inner::{Inner, LOOK, lock_of};
use super::leader_clock::{LoneClock, Readings, Stamp, may_issue, too_far_ahead};
use super::peers::{Ask, AskError, CallError, PeerAddress, Refusal, Reply};
use super::token_store::{Committed, StoreError};
use super::types::{LogId, NodeId, Proposal};

/// Whoever is there is heard of within this time.
const NOBODY_THERE: Duration = Duration::from_secs(3);

/// The clock of this replica, and what is remembered of it.
pub(crate) struct Clocks {
    clock: Arc<dyn Clock>,
    lone: Mutex<LoneClock>,
    group: Mutex<GroupClock>,
    /// The minute in which it was last said that the clock is not followed.
    said: AtomicU64,
    /// This replica's clock is far from those of its group.
    astray: AtomicBool,
}

impl Clocks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            lone: Mutex::default(),
            group: Mutex::default(),
            said: AtomicU64::new(0),
            astray: AtomicBool::new(false),
        }
    }

    pub(crate) fn readings(&self) -> Readings {
        Readings {
            wall_ms: self.clock.now_ms(),
            boot_ms: self.clock.boot_ms(),
            synchronised: self.clock.is_synchronised(),
        }
    }

    /// Takes a lone replica's clock for right. How far ahead it was, if it was held back, milliseconds.
    pub(crate) fn accept(&self) -> Option<u64> {
        lock_of(&self.lone).accept(self.readings())
    }

    /// As of the last stamp of a leader: its clock is far from those of its group.
    pub(crate) fn is_astray(&self) -> bool {
        self.astray.load(Ordering::Relaxed)
    }

    /// Said once a minute, not at every proposal.
    fn say_held_back(&self, readings: Readings, at_ms: u64, off_ms: u64, is_lone: bool) {
        let minute = readings.boot_ms / 60_000 + 1;
        if self.said.swap(minute, Ordering::Relaxed) == minute {
            return;
        }
        match is_lone {
            true => tracing::warn!(
                machine = time_text(readings.wall_ms),
                store = time_text(at_ms),
                ahead_ms = off_ms,
                "the machine's clock stepped ahead of the store's and is not followed yet; if it is right: jointoken store clock accept"
            ),
            false => tracing::warn!(
                machine = time_text(readings.wall_ms),
                store = time_text(at_ms),
                off_ms,
                "the machine's clock is {} those of the other replicas and is not followed: set it right",
                match readings.wall_ms > at_ms {
                    true => "ahead of",
                    false => "behind",
                }
            ),
        }
    }
}

/// For a log line, to the second.
fn time_text(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| format!("{seconds} s after 1970"),
        |time| time.to_string(),
    )
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// The time to stamp with. `None`: a group's clocks were not heard of yet.
    fn stamp(&self) -> Option<u64> {
        let clocks = self.clocks();
        let readings = clocks.readings();
        let voters = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().voter_ids().count()
        };
        let is_lone = voters <= 1;
        let Stamp {
            at_ms,
            held_back_ms,
        } = match self.group().filter(|_| !is_lone) {
            None => lock_of(&clocks.lone).stamp(readings),
            Some(group) => {
                let others = self.clocks_heard(group, readings.boot_ms);
                lock_of(&clocks.group).stamp(readings, &others, voters)?
            }
        };
        let is_astray = held_back_ms.is_some() && !is_lone;
        clocks.astray.store(is_astray, Ordering::Relaxed);
        if let Some(off_ms) = held_back_ms {
            clocks.say_held_back(readings, at_ms, off_ms, is_lone);
        }
        Some(at_ms)
    }

    /// The time with which this replica would stamp: a follower knows the others' clocks as well as the leader.
    pub(crate) fn now_ms(&self) -> u64 {
        let machine = || self.clocks().readings().wall_ms;
        self.stamp().unwrap_or_else(machine)
    }

    /// How far the state's clock is ahead of that, in milliseconds, if it is by so much that nothing is issued.
    pub(crate) fn ahead_ms(&self) -> Option<u64> {
        too_far_ahead(self.live().read().now_ms(), self.stamp()?)
    }

    /// Returns once that is more than this machine's clock says by itself, or nobody is there who could say more.
    pub(crate) async fn until_time_is_known(&self) {
        let mut waited = Duration::ZERO;
        while self.stamp().is_none() && waited < NOBODY_THERE {
            Rt::sleep(LOOK).await;
            waited += LOOK;
        }
    }

    pub(crate) fn is_sweep_due(&self) -> bool {
        let due_ms = self.live().read().next_due_ms();
        due_ms
            .zip(self.stamp())
            .is_some_and(|(due_ms, now_ms)| due_ms <= now_ms)
    }

    /// Commits it as the leader, or has the leader commit it.
    pub(crate) async fn propose(&self, operation: Operation) -> Result<Committed, StoreError> {
        // Rules only rise: what those applied here allow, the log allows from here on, whoever leads.
        let rules = self.live().read().rules_version();
        let operation = operation.by_rules(rules);
        match self.leads() {
            true => self.commit(operation).await.map(|(_, committed)| committed),
            false => self.forward(operation).await,
        }
    }

    /// This replica has not stopped, and the group knows which state is right.
    ///
    /// Whoever looks at the health may call nothing that looks at it, too: a writer that waits lets no further reader in.
    fn check_serving(&self) -> Result<(), StoreError> {
        let health = self.health();
        let health = health.borrow();
        if health.fatal.is_some() || self.is_stopping() {
            return Err(StoreError::Stopped);
        }
        match health.suspended {
            true => Err(StoreError::NoLeader),
            false => Ok(()),
        }
    }

    /// Stamps it and commits it, if this replica leads.
    pub(crate) async fn commit(
        &self,
        operation: Operation,
    ) -> Result<(LogId, Committed), StoreError> {
        self.check_serving()?;
        if !self.leads() {
            return Err(StoreError::NoLeader);
        }
        let at_ms = self.stamp().ok_or(StoreError::NoLeader)?;
        if !may_issue(&operation, self.live().read().now_ms(), at_ms) {
            return Err(StoreError::Clock);
        }
        let proposal = Proposal(Arc::new(Command { at_ms, operation }));
        let written = self.raft().client_write(proposal);
        match Rt::timeout(self.config().answer_timeout, written).await {
            Ok(Ok(response)) => {
                let committed = response.data.ok_or(StoreError::Unknown)?;
                Ok((response.log_id, committed))
            }
            Ok(Err(RaftError::Fatal(_))) => Err(StoreError::Stopped),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(StoreError::NoLeader)
            }
            Err(_) if faults::is_on(Fault::UnknownSaidToBeUndone) => Err(StoreError::NoLeader),
            // Appended here, or about to be: another leader may yet commit it.
            Ok(Err(RaftError::APIError(_))) | Err(_) => Err(StoreError::Unknown),
        }
    }

    /// The leader, if there is one and it is another.
    fn leader(&self) -> Option<(NodeId, PeerAddress)> {
        let leader = self.raft().metrics().borrow_watched().current_leader?;
        let is_another = leader != self.identity().node_id;
        let group = self.group().filter(|_| is_another)?;
        Some((leader, group.whereabouts().of(leader)?))
    }

    /// Returns once another replica than this one is known to lead.
    async fn until_another_leads(&self, than: NodeId) {
        let mut metrics = self.raft().metrics();
        loop {
            let leader = metrics.borrow_and_update().current_leader;
            if leader.is_some_and(|leader| leader != than) || metrics.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) async fn ask_leader(&self, ask: Ask) -> Result<Reply, StoreError> {
        let (group, (leader, address)) =
            (self.group().zip(self.leader())).ok_or(StoreError::NoLeader)?;
        let patience = self.config().answer_timeout;
        let asked = group.caller().ask::<Rt>(&address, leader, ask, patience);
        let deposed = std::pin::pin!(self.until_another_leads(leader));
        let answered = match select(std::pin::pin!(asked), deposed).await {
            Either::Left((answered, _)) => answered,
            // It may have done it before.
            Either::Right(_) => return Err(StoreError::Unknown),
        };
        match answered {
            Ok((_, reply)) => Ok(reply),
            Err(AskError::Call(_)) if faults::is_on(Fault::UnknownSaidToBeUndone) => {
                Err(StoreError::NoLeader)
            }
            // A leader that stops may have sent the entry to others before: they may yet commit it.
            Err(
                AskError::Call(CallError::NoAnswer(_))
                | AskError::Refused {
                    why: Refusal::Unknown | Refusal::Stopped,
                    ..
                },
            ) => Err(StoreError::Unknown),
            Err(AskError::Refused {
                why: Refusal::Clock,
                ..
            }) => Err(StoreError::Clock),
            Err(AskError::Call(CallError::NotSent(_)) | AskError::Refused { .. }) => {
                Err(StoreError::NoLeader)
            }
        }
    }

    async fn forward(&self, operation: Operation) -> Result<Committed, StoreError> {
        self.check_serving()?;
        let forwards = &self.shared().forwards;
        let begun = Rt::timeout(self.config().answer_timeout, forwards.clone().begin());
        let under_way = begun.await.map_err(|_| StoreError::NoLeader)?;
        let command = Command {
            at_ms: 0,
            operation,
        };
        let Reply::Committed(log_id) = self.ask_leader(Ask::Propose(Arc::new(command))).await?
        else {
            return Err(StoreError::Unknown);
        };
        let outcome = forwards.outcome(&under_way, log_id);
        match Rt::timeout(self.config().answer_timeout, outcome).await {
            Ok(Some(committed)) => Ok(committed),
            Ok(None) | Err(_) => Err(StoreError::Unknown),
        }
    }

    pub(crate) async fn barrier(&self) -> Result<(), StoreError> {
        self.check_serving()?;
        if faults::is_on(Fault::FollowerReadsAlone) {
            return Ok(());
        }
        let log_id = match self.read_log_id().await {
            Err(StoreError::NoLeader) => match self.ask_leader(Ask::ReadIndex).await {
                Ok(Reply::ReadAfter(log_id)) => log_id,
                Ok(_) | Err(StoreError::Unknown) => return Err(StoreError::NoLeader),
                Err(error) => return Err(error),
            },
            log_id => log_id?,
        };
        let patience = Some(self.config().answer_timeout);
        let wait = self.raft().wait(patience);
        let applied = wait.applied_index_at_least(Some(log_id.index), "read");
        applied.await.map(|_| ()).map_err(|_| StoreError::NoLeader)
    }

    /// Up to where must be applied what is to be seen; the leader's to say.
    pub(crate) async fn read_log_id(&self) -> Result<LogId, StoreError> {
        // Never by lease: that would trust clocks.
        let read = self.raft().get_read_linearizer(ReadPolicy::ReadIndex);
        match Rt::timeout(self.config().answer_timeout, read).await {
            Ok(Ok(linearizer)) => Ok(*linearizer.read_log_id().log_id()),
            Ok(Err(RaftError::Fatal(
                Fatal::Stopped | Fatal::Panicked | Fatal::StorageError(_),
            ))) => Err(StoreError::Stopped),
            Ok(Err(RaftError::APIError(
                LinearizableReadError::ForwardToLeader(_)
                | LinearizableReadError::QuorumNotEnough(_),
            )))
            | Err(_) => Err(StoreError::NoLeader),
        }
    }
}
