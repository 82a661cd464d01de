//! Deliberate faults, by which the simulation of groups proves that it would find them: each is a line somewhere that
//! does the wrong thing while its switch is on. Three are lines of the simulation itself: what is founded or named wrongly there is
//! decided outside of the store, and a disk that is set back is nobody's code.
//!
//! This room must not know anything. In a build without debug assertions, as every release is, no fault can be on: the
//! switch is not there, and [`is_on`] is the constant `false`.

/// What may be done wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Entries are said to be on the disk before they are.
    AcknowledgeBeforeSync,
    /// A vote is.
    VoteNotSynced,
    /// A file gets its name before its contents are on the disk.
    NameBeforeContents,
    /// A restarted leader goes on leading in its old term.
    LeaderRestore,
    /// A claim can be given back by others than the request that holds it.
    RevertWithoutHolder,
    /// The claim of an earlier attempt admits, too.
    ConsumeWithoutAttempt,
    /// Commands do not look first what time has done to the record.
    ApplyNotNormalising,
    /// A claim whose time is over still keeps others out.
    BeginIgnoresDeadline,
    /// A token that has admitted somebody can be aborted.
    AbortOverwritesConsumed,
    /// Whoever asks is sent the certificate that the token was used for.
    RedeliverToAnybody,
    /// A replica reads what it has itself, and asks no leader.
    FollowerReadsAlone,
    /// Whoever restarts from a snapshot does not know what is due when.
    SnapshotWithoutDueTimes,
    /// A leader stamps with whatever its own clock says.
    ClockNotHeldBack,
    /// What may have happened is said not to have.
    UnknownSaidToBeUndone,
    /// The state's clock goes back with the leader's.
    TimeRunsBackwards,
    /// Entries that were found to be void are still on the disk.
    TruncationNotWritten,
    /// Whoever was removed from the group is not told so.
    RemovedNotTold,
    /// A replica with an empty disk founds a group, though it is not the first start of the founder.
    EmptyReplicaFounds,
    /// A replica with an empty disk calls itself what it was called before.
    NodeIdUsedAgain,
    /// A disk is set back though there is something that was acknowledged and is not on all others'.
    SetBackTooSoon,
    /// A replica whose disk was set back may campaign, though something outside of it tells so.
    SetBackCampaigns,
    /// One whose disk was set back votes for whoever asks, also for one that lacks what was committed.
    SetBackVotesForAnybody,
    /// And it obeys the leaders of before.
    SetBackObeysFormer,
    /// What a JoinToken's status tells of the log counts for nothing.
    StatusesNotBelieved,
    /// A status is believed though there is a leader that has no such entry.
    EditedStatusBelieved,
    /// A replica that lacks what it had acknowledged is not sent it again.
    LostNotSentAgain,
    /// A replication stream keeps the address that it dialled first.
    AddressKept,
    /// A revision that has a token is given another.
    RevisionMintedTwice,
    /// Whoever was admitted and is revoked can still have the certificate again.
    RevokedServedAgain,
    /// The machine of a former revision keeps its place.
    PredecessorNotBarred,
    /// What has ended is forgotten before the token has expired.
    ForgottenTooSoon,
}

#[cfg(debug_assertions)]
mod switch {
    use std::cell::Cell;

    use crate::faults::Fault;

    thread_local! {
        // Of a thread: a simulation runs in one, and others beside it are not to be disturbed.
        static ON: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Whether this is done wrong at the moment.
    pub fn is_on(fault: Fault) -> bool {
        ON.get() == Some(fault)
    }

    /// Until the guard is dropped this is done wrong in this thread.
    pub fn switch_on(fault: Fault) -> Guard {
        Guard(ON.replace(Some(fault)))
    }

    /// Puts the switch back where it was.
    #[must_use]
    pub struct Guard(Option<Fault>);

    impl Drop for Guard {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }
}

#[cfg(debug_assertions)]
pub use switch::{Guard, is_on, switch_on};

/// Nothing is ever done wrong on purpose.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn is_on(_: Fault) -> bool {
    false
}

// Whoever makes `is_on` answer anything else in a release does not get one.
#[cfg(not(debug_assertions))]
const _: () = assert!(!is_on(Fault::LeaderRestore));
