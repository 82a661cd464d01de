//! Thousands of lives of one replica, each from a seed: random operations, and in their midst the
//! machine loses power, the process is killed, a sync fails, the disk is full. Afterwards nothing
//! that was acknowledged may be missing, nobody may be in twice, and the state must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{Either, select};
use jointoken::clock::{Clock as _, ManualClock};
use jointoken::lifecycle::command::{Abort, Acknowledge, Consume, Failure, Revert, Revoke};
use jointoken::lifecycle::outcome::{
    AbortOutcome, AcknowledgeOutcome, BeginOutcome, ConsumeOutcome, RevokeOutcome,
};
use jointoken::lifecycle::{Phase, Reason, State};
use jointoken::store::{
    AuditSink, Change, RaftStore, StoreConfig, StoreError, TokenStore as _, audit_trail, identity,
    submit,
};
use openraft::AsyncRuntime as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::sim_disk::SimDisk;
use crate::sim_runtime::Sim;
use crate::support::{
    IDENTITY, begin, clock, complete_founding, config, joiner, leads, leaf, token,
};

/// How many lives. One alone: `JOINTOKEN_SEED=17 cargo test --test store crash_sim`.
const SEEDS: u64 = 2_000;

/// No process lives longer, in its own time; one that does waits for what never comes.
const LONGEST: Duration = Duration::from_secs(600);

/// So few tokens and joiners that they get into each other's way.
const TOKENS: u64 = 12;
const JOINERS: u64 = 3;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Told to, with time to do so.
    Clean,
    /// While nothing is under way.
    Kill,
    PowerLoss,
    /// In the midst of it.
    KillMidway,
    PowerLossMidway,
    /// The disk fails first; the process ends by itself.
    SyncFails,
    DiskFull,
}

const ENDS: [End; 10] = [
    End::Clean,
    End::Kill,
    End::PowerLoss,
    End::PowerLoss,
    End::KillMidway,
    End::PowerLossMidway,
    End::PowerLossMidway,
    End::PowerLossMidway,
    End::SyncFails,
    End::DiskFull,
];

impl End {
    /// The process may stop before anybody tells it to.
    const fn is_sudden(self) -> bool {
        matches!(
            self,
            Self::KillMidway | Self::PowerLossMidway | Self::SyncFails | Self::DiskFull
        )
    }
}

/// What the world outside has been told.
#[derive(Default)]
struct Told {
    /// Who was admitted by which token.
    admitted: BTreeMap<u64, u64>,
    /// Which tokens will never admit anybody.
    dead: BTreeSet<u64>,
    /// Whose redelivery is over.
    acknowledged: BTreeSet<u64>,
    /// The state when nothing was under way.
    image: Option<Vec<u8>>,
    /// What the audit has written down, by index.
    audited: BTreeMap<u64, Arc<Change>>,
    /// How often it wrote down what it had written before.
    audited_again: u64,
}

impl Told {
    fn admit(&mut self, n: u64, by: u64) {
        let first = *self.admitted.entry(n).or_insert(by);
        assert_eq!(first, by, "token {n} admitted two");
        assert!(
            !self.dead.contains(&n),
            "token {n} admitted somebody after its end"
        );
    }

    /// A line of the audit; it may come again, but never another of the same index.
    fn audit(&mut self, change: Arc<Change>) {
        let first = self.audited.entry(change.index).or_insert(change.clone());
        if !Arc::ptr_eq(first, &change) {
            assert_eq!(*first, change, "the audit contradicts itself");
            self.audited_again += 1;
        }
    }

    /// Line by line the audit leads to where the records are: none is missing.
    fn check_audit(&self) {
        let mut phases = BTreeMap::new();
        let steps = self.audited.values().flat_map(|change| &change.transitions);
        for step in steps {
            let phase = phases.insert(step.token_id, step.to).flatten();
            assert_eq!(phase, step.from, "the audit lacks a line before {step:?}");
        }
        let image = self.image.as_ref().expect("the last end is a clean one");
        let state = State::decode(image).unwrap();
        for record in state.records() {
            let last = phases.remove(&record.token_id).flatten();
            assert_eq!(last, Some(record.phase), "the audit lacks the last line");
        }
        phases.retain(|_, phase| phase.is_some());
        assert!(phases.is_empty(), "the audit tells of records that are not");
    }

    fn kill(&mut self, n: u64) {
        assert!(
            !self.admitted.contains_key(&n),
            "token {n} ended after an admission"
        );
        self.dead.insert(n);
    }
}

/// What all lives together came to, so that the test cannot be empty by accident.
#[derive(Default)]
struct Tally {
    admissions: AtomicU64,
    boots: AtomicU64,
    same_images: AtomicU64,
    snapshots: AtomicU64,
    sudden: AtomicU64,
    audited: AtomicU64,
    audited_again: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

struct Life {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    config: StoreConfig,
    told: Arc<Mutex<Told>>,
}

#[test]
fn whatever_happens_nothing_told_is_lost_and_nobody_is_in_twice() {
    let tally = Tally::default();
    if let Ok(seed) = std::env::var("JOINTOKEN_SEED") {
        live(seed.parse().unwrap(), &tally);
        return;
    }
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| live(seed, &tally))).is_err() {
                        eprintln!("seed {seed} failed; JOINTOKEN_SEED={seed} runs it alone");
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(!failed.load(Ordering::Relaxed));
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    eprintln!(
        "{SEEDS} lives: {} admissions told, {} starts, {} sudden ends, {} states compared, {} lives with snapshots, \
         {} lines of audit, {} of them again",
        of(&tally.admissions),
        of(&tally.boots),
        of(&tally.sudden),
        of(&tally.same_images),
        of(&tally.snapshots),
        of(&tally.audited),
        of(&tally.audited_again),
    );
    assert!(of(&tally.audited_again) > SEEDS);
    assert!(of(&tally.admissions) > 2 * SEEDS);
    assert!(of(&tally.boots) >= 3 * SEEDS);
    assert!(of(&tally.sudden) > SEEDS);
    assert!(of(&tally.same_images) > SEEDS);
    assert!(of(&tally.snapshots) > SEEDS / 4);
}

#[test]
fn a_seed_is_a_life() {
    let contents = |seed| {
        let life = live(seed, &Tally::default());
        life.disk.contents(&life.config.data_dir)
    };
    assert!(
        contents(5) == contents(5),
        "the same seed came to different bytes"
    );
    assert!(contents(5) != contents(6));
}

fn live(seed: u64, tally: &Tally) -> Life {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut config = config(Path::new("/data"));
    config.segment_bytes = rng.random_range(200..4_000);
    config.snapshot_after_bytes = rng.random_range(1_000..20_000);
    config.keep_entries = rng.random_range(0..20);
    let life = Life {
        disk: SimDisk::new(seed),
        clock: clock(),
        config,
        told: Arc::default(),
    };
    let boots = rng.random_range(2..5);
    for boot in 0..=boots {
        // The last one is left alone, to look at what there is.
        let end = match boot {
            last if last == boots => End::Clean,
            _ => ENDS[rng.random_range(0..ENDS.len())],
        };
        match end {
            End::KillMidway | End::PowerLossMidway => {
                life.disk.lose_power_after(rng.random_range(1..120));
            }
            End::SyncFails => life.disk.fail_sync_after(rng.random_range(0..60)),
            End::DiskFull => life.disk.set_space(Some(rng.random_range(0..8_000))),
            End::Clean | End::Kill | End::PowerLoss => {}
        }
        let mut runtime = Sim::with_seed(rng.random_range(0..u64::MAX));
        let quiet = runtime.block_on(async {
            let lived = pin!(life.run(end, boot == boots, &mut rng, tally));
            match select(lived, pin!(Sim::sleep(LONGEST))).await {
                Either::Left((quiet, _)) => quiet,
                Either::Right(_) => panic!("it hangs: {end:?}"),
            }
        });
        drop(runtime);
        if !quiet {
            life.told.lock().unwrap().image = None;
            Tally::add(&tally.sudden, 1);
        }
        life.disk.set_space(None);
        match end {
            End::PowerLoss | End::PowerLossMidway => life.disk.lose_power(),
            _ => life.disk.kill(),
        }
        Tally::add(&tally.boots, 1);
    }
    let has_snapshot = life.disk.contents(Path::new("/data/snapshots"));
    Tally::add(&tally.snapshots, u64::from(!has_snapshot.is_empty()));
    {
        let told = life.told.lock().unwrap();
        told.check_audit();
        Tally::add(&tally.admissions, told.admitted.len() as u64);
        Tally::add(&tally.audited, told.audited.len() as u64);
        Tally::add(&tally.audited_again, told.audited_again);
    }
    life
}

impl Life {
    /// One process. `true`: it ended while nothing was under way.
    async fn run(&self, end: End, is_last: bool, rng: &mut SmallRng, tally: &Tally) -> bool {
        let (sink, mut trail) = audit_trail();
        let mut slowness = SmallRng::seed_from_u64(rng.random_range(0..u64::MAX));
        // Sometimes much slower than the store, but not where it is to come to its end.
        let longest_us = match is_last {
            true => 4_000,
            false => [1_000, 4_000, 300_000][slowness.random_range(0..3)],
        };
        let told = self.told.clone();
        // Whoever writes the audit dies with the process.
        Sim::spawn(async move {
            let mark = trail.mark();
            while let Some(change) = trail.next().await {
                Sim::sleep(Duration::from_micros(slowness.random_range(0..longest_us))).await;
                let index = change.index;
                told.lock().unwrap().audit(change);
                mark.written(index);
            }
        });
        let Some(store) = self.start(end, sink).await else {
            return false;
        };
        self.check(&store, tally);
        let clients: Vec<_> = (0..rng.random_range(1..5))
            .map(|_| {
                let rng = SmallRng::seed_from_u64(rng.random_range(0..u64::MAX));
                Sim::spawn(client(
                    store.clone(),
                    self.told.clone(),
                    self.clock.clone(),
                    rng,
                ))
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        // Until the sweeper has found that nothing is due; in the end until the audit has, too.
        let idle_ms = if is_last { 4_000 } else { 500 };
        Sim::sleep(Duration::from_millis(idle_ms)).await;
        let quiet = store.health().borrow().fatal.is_none();
        assert!(quiet || end.is_sudden());
        if quiet {
            self.told.lock().unwrap().image = Some(store.state_image());
        }
        if quiet && end == End::Clean {
            store.shutdown().await;
        }
        quiet
    }

    /// Starts the replica, founding it if it was not; `None` if the disk does not let it.
    async fn start(&self, end: End, sink: AuditSink) -> Option<RaftStore<Sim>> {
        let disk = Arc::new(self.disk.clone());
        let sudden = |error: &dyn std::fmt::Display| {
            assert!(end.is_sudden(), "it did not start: {error}");
        };
        let known = identity::read(&*disk, &self.config.data_dir);
        let known = known.inspect_err(|error| sudden(error)).ok()?;
        if known.is_none() {
            let created = identity::create(&*disk, &self.config.data_dir, &IDENTITY);
            created.inspect_err(|error| sudden(error)).ok()?;
        }
        let mut config = self.config.clone();
        config.audit = Some(sink);
        let store = RaftStore::open_on(config, disk, self.clock.clone()).await;
        let store = store.inspect_err(|error| sudden(error)).ok()?;
        if store.identity().founding {
            let founded = complete_founding(&store).await;
            founded.inspect_err(|error| sudden(error)).ok()?;
        }
        if end.is_sudden() {
            let mut health = store.health();
            let settled = health.wait_for(|health| health.is_leader || health.fatal.is_some());
            settled
                .await
                .unwrap()
                .fatal
                .is_none()
                .then_some(store.clone())
        } else {
            leads(&store).await;
            Some(store)
        }
    }

    /// What the store says now is what the world was told before.
    fn check(&self, store: &RaftStore<Sim>, tally: &Tally) {
        let told = self.told.lock().unwrap();
        let image = store.state_image();
        let state = State::decode(&image).unwrap();
        state.check_invariants().unwrap();
        for (n, by) in &told.admitted {
            let record = store.record(&token(*n)).expect("an admission is lost");
            let admission = record.admission.expect("an admission is lost");
            assert_eq!(admission.joiner, joiner(*by), "token {n} admitted another");
        }
        for n in &told.dead {
            let record = store.record(&token(*n)).expect("an end is lost");
            assert_eq!(record.phase, Phase::Aborted, "token {n}");
        }
        if let Some(before) = &told.image {
            assert!(*before == image, "the state is not the same as before");
            Tally::add(&tally.same_images, 1);
        }
    }
}

/// Somebody who does random things until done or the store stops.
async fn client(
    store: RaftStore<Sim>,
    told: Arc<Mutex<Told>>,
    clock: Arc<ManualClock>,
    mut rng: SmallRng,
) {
    for _ in 0..rng.random_range(1..25) {
        match act(&store, &told, &clock, &mut rng).await {
            Ok(()) => {}
            Err(StoreError::Stopped) => return,
            Err(StoreError::KeysAmiss) => panic!("a store looks after no keys"),
            Err(StoreError::NoLeader | StoreError::Unknown | StoreError::Clock) => {
                Sim::sleep(Duration::from_millis(300)).await;
            }
        }
        if rng.random_bool(0.3) {
            Sim::sleep(Duration::from_millis(rng.random_range(0..40))).await;
        }
    }
}

async fn act(
    store: &RaftStore<Sim>,
    told: &Mutex<Told>,
    clock: &ManualClock,
    rng: &mut SmallRng,
) -> Result<(), StoreError> {
    let n = rng.random_range(0..TOKENS);
    let by = rng.random_range(0..JOINERS);
    let token_id = token(n);
    match rng.random_range(0..20) {
        0 => {
            let reason = Reason::Operator;
            let abort = Abort {
                token_id,
                reason,
                keep_until_ms: None,
            };
            match submit(store, abort).await? {
                AbortOutcome::Done(record) if record.phase == Phase::Aborted => {
                    told.lock().unwrap().kill(n);
                }
                AbortOutcome::Tombstone => told.lock().unwrap().kill(n),
                AbortOutcome::Done(_) | AbortOutcome::AlreadyConsumed(_) => {}
            }
        }
        1 => {
            let reason = Reason::Revoked;
            let revoke = Revoke {
                token_id,
                reason,
                keep_until_ms: None,
            };
            match submit(store, revoke).await? {
                RevokeOutcome::Done(record) if record.phase == Phase::Aborted => {
                    told.lock().unwrap().kill(n);
                }
                RevokeOutcome::Tombstone => told.lock().unwrap().kill(n),
                RevokeOutcome::Done(_) | RevokeOutcome::Barred(_) => {}
            }
        }
        2 => {
            let acknowledge = Acknowledge {
                token_id,
                joiner: joiner(by),
            };
            if submit(store, acknowledge).await? == AcknowledgeOutcome::Done {
                let mut told = told.lock().unwrap();
                told.admit(n, by);
                told.acknowledged.insert(n);
            }
        }
        3 => clock.advance(rng.random_range(0..120_000)),
        4 => store.barrier().await?,
        _ => join(store, told, clock, rng, n, by).await?,
    }
    Ok(())
}

/// One request of a joiner, as the door would carry it out; it may be given up half way.
async fn join(
    store: &RaftStore<Sim>,
    told: &Mutex<Told>,
    clock: &ManualClock,
    rng: &mut SmallRng,
    n: u64,
    by: u64,
) -> Result<(), StoreError> {
    let begin = begin(n, by, clock.now_ms());
    let (token_id, holder) = (begin.token_id, begin.holder);
    match submit(store, begin).await? {
        BeginOutcome::Granted { .. } if rng.random_bool(0.1) => {}
        BeginOutcome::Granted { attempt, .. } if rng.random_bool(0.1) => {
            let failure = Failure::SigningFailed;
            submit(
                store,
                Revert {
                    token_id,
                    attempt,
                    holder,
                    failure,
                },
            )
            .await?;
        }
        BeginOutcome::Granted { attempt, .. } => {
            let consume = Consume {
                token_id,
                joiner: joiner(by),
                attempt,
                leaf: leaf(by),
            };
            if let ConsumeOutcome::Admitted { leaf: kept, .. } = submit(store, consume).await? {
                assert_eq!(kept, leaf(by));
                told.lock().unwrap().admit(n, by);
            }
        }
        BeginOutcome::Redeliver { leaf: kept, .. } => {
            assert_eq!(kept, leaf(by));
            let mut told = told.lock().unwrap();
            told.admit(n, by);
            assert!(!told.acknowledged.contains(&n), "redelivered after its end");
        }
        _ => {}
    }
    Ok(())
}
