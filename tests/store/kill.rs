//! kill -9 of the real process under load, a hundred times: `jointoken serve` with its door, over
//! TLS, on the real disk. Whoever was told that it is in is in, and nobody else is.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join, join_all};
use jointoken::clock::{Clock as _, SystemClock};
use jointoken::lifecycle::{Phase, State};
use jointoken::pki::JoinerKey;
use jointoken::store::TokenStore as _;
use jointoken::token::{OfflineKeyFile, Presented, TokenId};
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::raw_joiner::RawJoiner;
use crate::server::wait_until;
use crate::standalone::Standalone;
use crate::support::{leads, open_real};

const KILLS: usize = 100;
/// How many pairs of machines are at the door all the time.
const PAIRS: usize = 4;

/// A token for which two machines raced.
struct Race {
    token_id: TokenId,
    winner: RawJoiner,
    /// What the winner was told.
    answer: Value,
    loser: RawJoiner,
}

struct Load {
    key: OfflineKeyFile,
    port: u16,
    over: AtomicBool,
    /// Answers that never came, or not whole.
    lost: AtomicUsize,
    races: Mutex<Vec<Race>>,
}

impl Load {
    fn decided(&self) -> usize {
        self.races.lock().unwrap().len()
    }

    async fn race_on(&self) {
        while !self.over.load(Ordering::SeqCst) {
            let random = TokenId::random().unwrap();
            let token = (self.key).mint(random, "edge-1", SystemClock.now_ms(), 3_600_000);
            let token = token.unwrap();
            let presented = Presented::parse(token.expose()).unwrap();
            let token_id = presented.unverified_token_id();
            let machine = || {
                let key = JoinerKey::generate().unwrap();
                RawJoiner::new(token.expose(), key, self.port)
            };
            let (one, other) = (machine(), machine());
            let (first, second) = join(self.settle(&one), self.settle(&other)).await;
            let (winner, answer, loser) = match (first, second) {
                (Some(answer), None) => (one, answer, other),
                (None, Some(answer)) => (other, answer, one),
                (None, None) => panic!("token {token_id} admitted nobody"),
                (Some(_), Some(_)) => panic!("token {token_id} admitted two"),
            };
            self.races.lock().unwrap().push(Race {
                token_id,
                winner,
                answer,
                loser,
            });
        }
    }

    /// Asks, whatever happens to the door meanwhile, until it is in (and what it was told), or told
    /// that another one is.
    async fn settle(&self, machine: &RawJoiner) -> Option<Value> {
        loop {
            match machine.ask().await {
                Ok((200, answer)) => return Some(answer),
                Ok((410, refusal)) => {
                    assert_eq!(refusal["code"], json!("token_used"));
                    return None;
                }
                // In somebody else's hands, too often, no leader yet, stopping: again.
                Ok((409 | 429 | 503, _)) => {}
                Ok((code, refusal)) => panic!("{code}: {refusal}"),
                Err(_) => {
                    self.lost.fetch_add(1, Ordering::SeqCst);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_a_hundred_times_under_load_it_keeps_its_word() {
    let place = Standalone::new();
    let mut server = place.setup().start();
    let key = fs::read_to_string(place.export("edge-*", "1h")).unwrap();
    let load = Arc::new(Load {
        key: OfflineKeyFile::parse(&key).unwrap(),
        port: place.door_port,
        over: AtomicBool::new(false),
        lost: AtomicUsize::new(0),
        races: Mutex::default(),
    });
    let pairs: Vec<_> = (0..PAIRS)
        .map(|_| {
            let load = load.clone();
            tokio::spawn(async move { load.race_on().await })
        })
        .collect();
    for kill in 0..KILLS {
        // Machines are joining again; then at any moment.
        let until = load.decided() + rand::rng().random_range(1..=4);
        let went_on =
            wait_until(|| load.decided() >= until || pairs.iter().any(|p| p.is_finished()));
        assert!(
            went_on && !pairs.iter().any(|pair| pair.is_finished()),
            "after {kill} kills nobody joins any more"
        );
        std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..10_000)));
        server.kill();
        server = place.setup().start();
    }
    load.over.store(true, Ordering::SeqCst);
    for pair in join_all(pairs).await {
        pair.unwrap();
    }

    let races = std::mem::take(&mut *load.races.lock().unwrap());
    let lost = load.lost.load(Ordering::SeqCst);
    eprintln!(
        "{KILLS} kills: {} admissions, {lost} answers lost",
        races.len()
    );
    assert!(races.len() > 2 * KILLS);
    assert!(lost > KILLS / 2, "the kills hit nobody who was joining");
    for Race {
        winner,
        answer,
        loser,
        ..
    } in &races
    {
        // Redelivered: the very same answer.
        assert_eq!(load.settle(winner).await.as_ref(), Some(answer));
        assert_eq!(load.settle(loser).await, None);
    }
    assert!(server.terminate().0.success());

    // What the log says, replayed twice.
    let data = place.data().join("store");
    let mut images = Vec::new();
    for _ in 0..2 {
        let store = open_real(&data).await.unwrap();
        leads(&store).await;
        for race in &races {
            let record = store.record(&race.token_id).unwrap();
            assert_eq!(record.phase, Phase::Consumed);
        }
        images.push(store.state_image());
        store.shutdown().await;
    }
    assert!(images[0] == images[1], "replayed, the state is another");
    let state = State::decode(&images[0]).unwrap();
    assert_eq!(state.record_count(), races.len());
}
