//! Machines that join all the time, alone or racing in pairs for one token, at any door, whatever happens to the doors.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join;
use jointoken::pki::JoinerKey;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::group::Minter;
use crate::raw_joiner::RawJoiner;

/// A door that stands still is left for another one.
const PATIENCE: Duration = Duration::from_secs(2);
/// A token may not be tried as often as one likes.
const PAUSE: Duration = Duration::from_millis(100);
/// Nobody waits so long for a decision, whatever happens.
const DECIDED: Duration = Duration::from_secs(120);

/// A token that is used.
pub struct Race {
    pub at: Instant,
    pub winner: RawJoiner,
    /// What the winner was told.
    pub answer: Value,
    /// Who wanted it, too.
    pub loser: Option<RawJoiner>,
}

/// Machines at the doors all the time.
pub struct Load {
    shared: Arc<Shared>,
    pairs: Vec<JoinHandle<()>>,
    pub runtime: Runtime,
}

struct Shared {
    minter: Minter,
    doors: Mutex<Vec<u16>>,
    has_rivals: bool,
    over: AtomicBool,
    /// Answers that never came, or not whole.
    lost: AtomicUsize,
    races: Mutex<Vec<Race>>,
}

impl Load {
    /// One machine for each token.
    pub fn alone(minter: Minter, doors: Vec<u16>, machines: usize) -> Self {
        Self::start(minter, doors, machines, false)
    }

    /// Two for each.
    pub fn in_pairs(minter: Minter, doors: Vec<u16>, pairs: usize) -> Self {
        Self::start(minter, doors, pairs, true)
    }

    fn start(minter: Minter, doors: Vec<u16>, pairs: usize, has_rivals: bool) -> Self {
        let shared = Arc::new(Shared {
            minter,
            doors: Mutex::new(doors),
            has_rivals,
            over: AtomicBool::new(false),
            lost: AtomicUsize::new(0),
            races: Mutex::default(),
        });
        let runtime = Runtime::new().expect("a runtime");
        let pair = || {
            let shared = shared.clone();
            runtime.spawn(async move { shared.race_on().await })
        };
        Self {
            pairs: (0..pairs).map(|_| pair()).collect(),
            shared,
            runtime,
        }
    }

    /// From now on they come to this door, too.
    pub fn add_door(&self, door: u16) {
        self.shared.doors.lock().unwrap().push(door);
    }

    pub fn decided(&self) -> usize {
        self.shared.races.lock().unwrap().len()
    }

    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// A pair has found something wrong.
    pub fn is_broken(&self) -> bool {
        self.pairs.iter().any(JoinHandle::is_finished)
    }

    /// Waits until so many more have been admitted.
    #[track_caller]
    pub fn until_more(&self, count: usize) {
        let until = self.decided() + count;
        let started = Instant::now();
        while self.decided() < until {
            assert!(!self.is_broken(), "a pair has found something wrong");
            assert!(started.elapsed() < DECIDED, "nobody is admitted any more");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The longest time in which nobody was admitted since then.
    pub fn longest_pause_since(&self, then: Instant) -> Duration {
        let races = self.shared.races.lock().unwrap();
        let mut times: Vec<Instant> = races.iter().map(|race| race.at).collect();
        times.retain(|at| *at >= then);
        times.push(then);
        times.sort_unstable();
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        pauses.max().unwrap_or_default()
    }

    /// Ends it; all races, each decided.
    pub fn end(mut self) -> Ended {
        self.shared.over.store(true, Ordering::SeqCst);
        for pair in std::mem::take(&mut self.pairs) {
            let ended = async { tokio::time::timeout(DECIDED, pair).await };
            let ended = self.runtime.block_on(ended);
            ended.expect("nobody is admitted any more").expect("a pair");
        }
        Ended {
            races: std::mem::take(&mut *self.shared.races.lock().unwrap()),
            shared: self.shared.clone(),
        }
    }
}

/// A load that is over.
pub struct Ended {
    pub races: Vec<Race>,
    shared: Arc<Shared>,
}

impl Ended {
    /// Every winner gets the very same answer again, at every door, and every loser is refused at whichever.
    pub fn check(self) {
        let doors = self.shared.doors();
        self.check_at(&doors);
    }

    /// The same where only these doors are left.
    pub fn check_at(mut self, doors: &[u16]) {
        let runtime = Runtime::new().expect("a runtime");
        let races = std::mem::take(&mut self.races);
        let queue = Arc::new(Mutex::new(races));
        let check = |shared: Arc<Shared>, queue: Arc<Mutex<Vec<Race>>>, doors: Vec<u16>| async move {
            loop {
                let Some(mut race) = queue.lock().unwrap().pop() else {
                    return;
                };
                for door in &doors {
                    let again = shared.settle_at(&mut race.winner, &[*door]).await;
                    assert_eq!(again.as_ref(), Some(&race.answer));
                }
                if let Some(loser) = &mut race.loser {
                    assert_eq!(shared.settle_at(loser, &doors).await, None);
                }
            }
        };
        let checks: Vec<_> = (0..8)
            .map(|_| runtime.spawn(check(self.shared.clone(), queue.clone(), doors.to_vec())))
            .collect();
        for ended in runtime.block_on(futures::future::join_all(checks)) {
            ended.expect("the same answer");
        }
    }
}

impl Shared {
    async fn race_on(&self) {
        while !self.over.load(Ordering::SeqCst) {
            let token = self.minter.token();
            let machine = || {
                let mut machine = RawJoiner::new(&token, JoinerKey::generate().unwrap(), 0);
                // Who fails is counted by address.
                let number = rand::rng().random_range(1..0x00ff_ffff);
                machine.from = Ipv4Addr::from_bits(0x7f00_0000 | number);
                machine
            };
            let mut one = machine();
            let (winner, answer, loser) = if self.has_rivals {
                let mut other = machine();
                let (first, second) = join(self.settle(&mut one), self.settle(&mut other)).await;
                match (first, second) {
                    (Some(answer), None) => (one, answer, Some(other)),
                    (None, Some(answer)) => (other, answer, Some(one)),
                    (None, None) => panic!("a token admitted nobody"),
                    (Some(_), Some(_)) => panic!("a token admitted two"),
                }
            } else {
                let answer = self.settle(&mut one).await;
                (one, answer.expect("a token of its own"), None)
            };
            self.races.lock().unwrap().push(Race {
                at: Instant::now(),
                winner,
                answer,
                loser,
            });
        }
    }

    fn doors(&self) -> Vec<u16> {
        self.doors.lock().unwrap().clone()
    }

    async fn settle(&self, machine: &mut RawJoiner) -> Option<Value> {
        self.settle_at(machine, &self.doors()).await
    }

    /// Asks at one or another of these doors until it is in (and what it was told), or told that another one is.
    async fn settle_at(&self, machine: &mut RawJoiner, doors: &[u16]) -> Option<Value> {
        let began = Instant::now();
        loop {
            machine.port = doors[rand::rng().random_range(0..doors.len())];
            let asked = tokio::time::timeout(PATIENCE, machine.ask()).await;
            let why = match asked {
                Ok(Ok((200, answer))) => return Some(answer),
                Ok(Ok((410, refusal))) => {
                    assert_eq!(refusal["code"], json!("token_used"));
                    return None;
                }
                // In somebody else's hands, too often, no leader, stopping: again.
                Ok(Ok((409 | 429 | 503, refusal))) => refusal.to_string(),
                Ok(Ok((code, refusal))) => panic!("{code}: {refusal}"),
                Ok(Err(error)) => {
                    self.lost.fetch_add(1, Ordering::SeqCst);
                    error.to_string()
                }
                Err(_) => {
                    self.lost.fetch_add(1, Ordering::SeqCst);
                    "no answer".to_owned()
                }
            };
            assert!(began.elapsed() < DECIDED, "it is never decided: {why}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
