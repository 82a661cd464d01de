//! The simulation bites: each deliberate fault of the code is found, within the number of seeds that stands beside it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jointoken::faults::{self, Fault};

use super::{live_or_panic, number};

/// Each fault, and within how many seeds it is found, from whichever seed on (`JOINTOKEN_FIRST_SEED`): about six times as
/// many as it takes on average.
const FAULTS: [(Fault, u64); 31] = [
    (Fault::AcknowledgeBeforeSync, 1),
    (Fault::VoteNotSynced, 1),
    (Fault::NameBeforeContents, 10),
    (Fault::LeaderRestore, 120),
    (Fault::RevertWithoutHolder, 60),
    (Fault::ConsumeWithoutAttempt, 20),
    (Fault::ApplyNotNormalising, 60),
    (Fault::BeginIgnoresDeadline, 100),
    (Fault::AbortOverwritesConsumed, 30),
    (Fault::RedeliverToAnybody, 10),
    (Fault::FollowerReadsAlone, 80),
    (Fault::SnapshotWithoutDueTimes, 30),
    (Fault::ClockNotHeldBack, 120),
    (Fault::UnknownSaidToBeUndone, 300),
    (Fault::TimeRunsBackwards, 60),
    (Fault::TruncationNotWritten, 100),
    (Fault::RemovedNotTold, 120),
    (Fault::EmptyReplicaFounds, 150),
    (Fault::NodeIdUsedAgain, 30),
    (Fault::SetBackTooSoon, 400),
    (Fault::SetBackCampaigns, 600),
    (Fault::SetBackVotesForAnybody, 600),
    (Fault::SetBackObeysFormer, 700),
    (Fault::StatusesNotBelieved, 400),
    (Fault::EditedStatusBelieved, 500),
    (Fault::LostNotSentAgain, 500),
    (Fault::AddressKept, 80),
    (Fault::RevisionMintedTwice, 10),
    (Fault::RevokedServedAgain, 60),
    (Fault::PredecessorNotBarred, 100),
    (Fault::ForgottenTooSoon, 20),
];

#[test]
fn every_fault_is_found() {
    // From other seeds on it is seen whether the limits are luck.
    let first = number("JOINTOKEN_FIRST_SEED").unwrap_or(0);
    let only = std::env::var("JOINTOKEN_FAULT").ok();
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((fault, seeds)) = FAULTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if only
                        .as_ref()
                        .is_some_and(|only| *only != format!("{fault:?}"))
                    {
                        continue;
                    }
                    let _guard = faults::switch_on(*fault);
                    let began = std::time::Instant::now();
                    let found = (first..first + seeds)
                        .find_map(|seed| Some((seed, live_or_panic(seed).err()?)));
                    let took = began.elapsed();
                    match found {
                        Some((seed, what)) => {
                            let what = what.lines().next().unwrap_or("");
                            let what: String = what.chars().take(160).collect();
                            let nth = seed - first + 1;
                            eprintln!(
                                "{fault:?}: seed {seed}, {nth} of {seeds}, {took:.1?}: {what}"
                            );
                        }
                        None => {
                            eprintln!("{fault:?}: not found in {seeds} seeds, {took:.1?}");
                            missed.lock().unwrap().push(*fault);
                        }
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "nobody found {missed:?}");
}
