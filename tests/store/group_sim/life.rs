//! One group from its founding to its end, all of it from one number.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{Either, select};
use jointoken::store::submit;
use openraft::AsyncRuntime as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::sim_net::now;
use crate::sim_runtime::Sim;
use crate::support::{T, complete_founding, resource_key};

use super::clients::{self, Client};
use super::history::{Answer, Call};
use super::machine::right_ms;
use super::reshaping::WELL;
use super::token_model::Rules;
use super::world::{CLAIM_MS, World, fork};

/// No group lives longer, in its own time; one that does waits for what never comes.
const LONGEST: Duration = Duration::from_secs(900);

/// Without a leader another is elected within this time.
const ELECTED: Duration = Duration::from_secs(5);

/// What a group's life came to, or the lives of many.
#[derive(Debug, Clone, Default)]
pub struct Life {
    pub operations: u64,
    pub unknown: u64,
    pub admissions: u64,
    pub registered: u64,
    pub barred: u64,
    /// Records that had ended and were gone when it ended.
    pub forgotten: u64,
    pub reads: u64,
    pub faults: u64,
    pub set_back: u64,
    pub promises: u64,
    pub compared: u64,
    pub virtual_s: u64,
    pub trace: u32,
}

impl Life {
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.admissions += other.admissions;
        self.registered += other.registered;
        self.barred += other.barred;
        self.forgotten += other.forgotten;
        self.reads += other.reads;
        self.faults += other.faults;
        self.set_back += other.set_back;
        self.promises += other.promises;
        self.compared += other.compared;
        self.virtual_s += other.virtual_s;
    }
}

/// What happens to the members of a group beside all that happens to any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Same,
    LosesADisk {
        the_first_and_cut_off: bool,
    },
    Removes {
        while_it_runs: bool,
    },
    Grows,
    Shrinks,
    /// Some disks are set back to what they held before.
    SetsBack,
    /// Those of a majority, or all, are set back together.
    SetsBackTogether,
    /// A disk is copied over another's: two have the same node id.
    CopiesADisk,
    /// Replicas are started at other addresses.
    Moves,
}

impl Shape {
    fn draw(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..24) {
            0..=7 => Self::Same,
            8 | 9 => Self::SetsBackTogether,
            10 | 11 => Self::Moves,
            12 | 13 => Self::LosesADisk {
                the_first_and_cut_off: false,
            },
            14 => Self::LosesADisk {
                the_first_and_cut_off: true,
            },
            15 => Self::Removes {
                while_it_runs: true,
            },
            16 => Self::Removes {
                while_it_runs: false,
            },
            17 => Self::Grows,
            18 | 19 => Self::Shrinks,
            20 | 21 => Self::SetsBack,
            _ => Self::CopiesADisk,
        }
    }
}

/// Lives it, and says what it came to, or what is wrong.
pub fn live(seed: u64) -> Result<Life, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut runtime = Sim::with_seed(seed);
    let shape = Shape::draw(&mut rng);
    let size = match shape {
        Shape::Grows => 1,
        Shape::Shrinks => 5,
        Shape::SetsBackTogether => [1, 3, 3, 3, 3, 3, 5, 5][rng.random_range(0..8)],
        _ => [3, 3, 5][rng.random_range(0..3)],
    };
    let world = World::new(&mut rng, size);
    // Where nothing remembers it, disks are set back only when nothing rests on them.
    if shape == Shape::SetsBack {
        world.outside.forget();
    }
    runtime.block_on(async {
        let lived = pin!(world.clone().live(rng, shape));
        let judged = pin!(world.clone().until_wrong());
        if let Either::Right(_) = select(lived, judged).await
            && world.verdict.found().is_none()
        {
            world
                .verdict
                .wrong(format!("it hangs: {}", world.describe()));
        }
        world.sum_up(shape)
    })
}

impl World {
    async fn until_wrong(self: Arc<Self>) {
        while self.verdict.found().is_none() && now() < LONGEST {
            Sim::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn live(self: Arc<Self>, mut rng: SmallRng, shape: Shape) {
        drop(Sim::spawn(self.clone().judge()));
        self.found().await;
        let clients: Vec<_> = (0..rng.random_range(2..6))
            .map(|_| Sim::spawn(Client::new(self.clone(), fork(&mut rng)).run()))
            .collect();
        let events = match shape {
            Shape::Same => rng.random_range(3..12),
            _ => rng.random_range(0..4),
        };
        if shape != Shape::Grows {
            self.suffer(&mut rng, events).await;
        }
        self.reshape(&mut rng, shape).await;
        if !matches!(shape, Shape::Same | Shape::Shrinks) {
            self.suffer(&mut rng, events).await;
        }
        self.end(&mut rng, clients).await;
    }

    async fn found(self: &Arc<Self>) {
        self.start_all().await;
        let Some(founder) = self.store(0) else {
            return;
        };
        if let Err(error) = complete_founding(&founder).await {
            self.verdict.wrong(format!("it cannot be founded: {error}"));
        }
        if let Err(error) = submit(&founder, resource_key()).await {
            self.verdict
                .wrong(format!("the key cannot be adopted: {error}"));
        }
        self.until("all vote, and the limits are in force", WELL, |world| {
            world.is_well() && world.settings_are_in_force(&founder)
        })
        .await;
    }

    async fn reshape(self: &Arc<Self>, rng: &mut SmallRng, shape: Shape) {
        match shape {
            Shape::Same => {}
            Shape::LosesADisk {
                the_first_and_cut_off,
            } => {
                let n = match the_first_and_cut_off {
                    true => 0,
                    false => rng.random_range(0..self.size()),
                };
                self.lose_a_disk(n, the_first_and_cut_off).await;
            }
            Shape::Removes { while_it_runs } => {
                let n = rng.random_range(0..self.size());
                self.remove_and_take_back(n, while_it_runs).await;
            }
            Shape::Grows => {
                self.grow(rng, 3).await;
                let events = rng.random_range(0..3);
                self.suffer(rng, events).await;
                self.grow(rng, 5).await;
            }
            Shape::Shrinks => {
                self.shrink(rng, 3).await;
                let events = rng.random_range(0..3);
                self.suffer(rng, events).await;
                self.shrink(rng, 1).await;
            }
            Shape::SetsBack => self.set_disks_back(rng).await,
            Shape::SetsBackTogether => self.set_disks_back_together(rng).await,
            Shape::CopiesADisk => self.run_a_copy(rng).await,
            Shape::Moves => self.change_addresses(rng).await,
        }
    }

    /// Everything is put right; then all must come to the same, and to what clients were told.
    async fn end<Handle: Future>(self: &Arc<Self>, rng: &mut SmallRng, clients: Vec<Handle>) {
        self.over.store(true, Ordering::Relaxed);
        self.net.calm();
        self.set_clocks_right();
        self.until_well().await;
        for client in clients {
            client.await;
        }
        self.until("all are alike", WELL, Self::are_alike).await;
        self.compare_states();
        if rng.random_bool(0.5) {
            // What is on the disks comes to the same again.
            (0..self.size()).for_each(|n| self.kill(n, true));
            self.until_well().await;
            self.until("all are alike again", WELL, Self::are_alike)
                .await;
        }
        self.look_at_everything(rng).await;
    }

    async fn look_at_everything(self: &Arc<Self>, rng: &mut SmallRng) {
        // By now each has heard that the others' clocks are right.
        Sim::sleep(Duration::from_secs(2)).await;
        let mut tokens: Vec<u64> = {
            let history = self.history.lock().unwrap();
            history.operations.iter().map(|it| it.token).collect()
        };
        tokens.sort_unstable();
        tokens.dedup();
        for n in 0..self.size() {
            let Some(process) = self.process(n) else {
                continue;
            };
            // A leader whose message to its successor was lost just before all was put right takes nothing on any more: the
            // next one has to be elected.
            let end = now() + ELECTED;
            while !self.read(&process, &tokens).await && self.verdict.found().is_none() {
                if now() > end {
                    self.verdict
                        .wrong(format!("machine {n} cannot be read\n{}", self.describe()));
                }
                Sim::sleep(Duration::from_millis(100)).await;
            }
        }
        // What is due by now is over.
        let n = rng.random_range(0..self.size());
        let Some(process) = self.process(n) else {
            return;
        };
        for token in tokens.iter().filter(|it| clients::is_short(**it)).take(3) {
            let holder = rng.random_range(1..u64::MAX);
            self.ask(&process, *token, Call::Begin { joiner: 0, holder })
                .await;
            let history = self.history.lock().unwrap();
            let last = history.operations.last().and_then(|it| it.answer());
            let is_due = clients::expires_ms(*token) + 1_000 < right_ms();
            if is_due && matches!(last, Some(Answer::Granted { .. } | Answer::Conflict)) {
                self.verdict.wrong(format!("token {token} does not expire"));
            }
        }
    }

    fn sum_up(&self, shape: Shape) -> Result<Life, String> {
        let history = self.history.lock().unwrap();
        let rules = Rules {
            epoch_ms: T,
            // Thirty seconds are allowed, and something for clocks that were heard of a moment ago.
            ahead_ms: (!matches!(shape, Shape::Grows | Shape::Shrinks)).then_some(31_000),
            claim_ms: CLAIM_MS,
            ages: self.ages(),
            expires_ms: clients::expires_ms,
            resource: clients::resource,
            doubled: self.net.doubled_ever(),
            settled: 300_000_000,
        };
        if let Some(wrong) = self.verdict.found() {
            return Err(format!("{shape:?}: {wrong}"));
        }
        history
            .check(&rules)
            .map_err(|wrong| format!("{shape:?}: {wrong}"))?;
        for machine in self.machines().iter() {
            for (name, bytes) in machine.disk.contents(Path::new("/")) {
                self.trace.add(name.as_os_str().as_encoded_bytes());
                self.trace.add(&bytes);
            }
        }
        let count = |is: fn(&super::history::Operation) -> bool| {
            history.operations.iter().filter(|it| is(it)).count() as u64
        };
        Ok(Life {
            operations: history.operations.len() as u64,
            unknown: count(|it| it.told == super::history::Told::Unknown),
            admissions: count(|it| matches!(it.answer(), Some(Answer::Admitted { .. }))),
            registered: count(|it| it.answer() == Some(Answer::Created)),
            barred: count(|it| it.answer() == Some(Answer::Barred)),
            forgotten: history.forgotten(),
            reads: history.reads.len() as u64,
            faults: self.faults.load(Ordering::Relaxed),
            set_back: self.set_back.load(Ordering::Relaxed),
            promises: self.oracle.promises(),
            compared: self.compared.load(Ordering::Relaxed),
            virtual_s: now().as_secs(),
            trace: self.trace.sum(),
        })
    }
}
