//! The simulation bites: each deliberate fault of the code is found, within the number of seeds that stands beside it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jointoken::faults::{self, Fault};

use super::live_or_panic;

/// Each fault, and within how many seeds it is found.
const FAULTS: [(Fault, u64); 19] = [
    (Fault::AcknowledgeBeforeSync, 1),
    (Fault::VoteNotSynced, 1),
    (Fault::NameBeforeContents, 10),
    (Fault::LeaderRestore, 60),
    (Fault::RevertWithoutHolder, 60),
    (Fault::ConsumeWithoutAttempt, 60),
    (Fault::ApplyNotNormalising, 20),
    (Fault::BeginIgnoresDeadline, 20),
    (Fault::AbortOverwritesConsumed, 10),
    (Fault::RedeliverToAnybody, 10),
    (Fault::FollowerReadsAlone, 20),
    (Fault::SnapshotWithoutDueTimes, 60),
    (Fault::ClockNotHeldBack, 100),
    (Fault::UnknownSaidToBeUndone, 120),
    (Fault::TimeRunsBackwards, 60),
    (Fault::TruncationNotWritten, 60),
    (Fault::RemovedNotTold, 60),
    (Fault::EmptyReplicaFounds, 60),
    (Fault::NodeIdUsedAgain, 60),
];

#[test]
fn every_fault_is_found() {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((fault, seeds)) = FAULTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _guard = faults::switch_on(*fault);
                    let began = std::time::Instant::now();
                    let found =
                        (0..*seeds).find_map(|seed| Some((seed, live_or_panic(seed).err()?)));
                    let took = began.elapsed();
                    match found {
                        Some((seed, what)) => {
                            let what = what.lines().next().unwrap_or("");
                            let what: String = what.chars().take(160).collect();
                            eprintln!("{fault:?}: seed {seed} of {seeds}, {took:.1?}: {what}");
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
