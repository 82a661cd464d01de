//! Asking until there is an answer: which doors, how often, how long.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroizing;

use crate::bootstrap::wire::{JoinResponse, SecretText};
use crate::clock::Clock;
use crate::pki::JoinerKey;
use crate::token::JoinerId;

use super::attempt;
use super::connection::{Connection, unreachable};
use super::{DoorAddress, Join, JoinError, trust};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// So much of the time is left for the last round of questions.
const LAST_ROUND: Duration = Duration::from_secs(1);
/// How often a clock that is wrong is looked at, and by how much it moves when somebody sets it.
const CLOCK_LOOK: Duration = Duration::from_millis(500);
const CLOCK_SET_MS: u128 = 60 * 1000;
/// An acknowledgement is a courtesy: it is not tried for long.
const ACK_TRIES: usize = 3;
const ACK_PAUSE: Duration = Duration::from_millis(500);
const ACK_TIME: Duration = Duration::from_secs(10);
/// Nobody waits longer, whatever the user or the door says: beyond, moments cannot be computed with.
const EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// One machine asking the doors of one token.
pub(super) struct Asking<'a> {
    join: &'a Join,
    doors: Vec<DoorAddress>,
    tls: Arc<ClientConfig>,
    token_id: String,
    csr: String,
    joiner: JoinerId,
    until: Instant,
}

/// Where to ask, and whom to trust.
pub(super) struct Plan {
    doors: Vec<DoorAddress>,
    pin: [u8; 32],
}

impl Plan {
    /// From the token and what was given beside it. Nothing is touched or asked for this.
    pub(super) fn of(join: &Join) -> Result<Self, JoinError> {
        let delivery = join.token.unverified_delivery();
        let mut doors = join.urls.clone();
        if let (true, Some(delivery)) = (doors.is_empty(), delivery) {
            // The token's parser has checked them by the same rule.
            doors.extend(delivery.urls.iter().filter_map(|url| url.parse().ok()));
        }
        if doors.is_empty() {
            return Err(JoinError::NoUrl);
        }
        let through = |door: DoorAddress| door.through(&join.proxies);
        let doors = doors.into_iter().map(through).collect();
        let pin = match (delivery.map(|delivery| delivery.door_pin), join.pin) {
            (Some(token), Some(given)) if token != given => return Err(JoinError::PinDiffers),
            (Some(pin), _) | (None, Some(pin)) => pin,
            (None, None) => return Err(JoinError::NoPin),
        };
        Ok(Self { doors, pin })
    }
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        join: &'a Join,
        plan: Plan,
        key: &JoinerKey,
        csr: String,
    ) -> Result<Self, JoinError> {
        Ok(Self {
            join,
            doors: plan.doors,
            tls: trust::client_config(plan.pin, key, Arc::clone(&join.clock))?,
            token_id: join.token.unverified_token_id().to_string(),
            csr,
            joiner: JoinerId(key.public_key_sha256()),
            until: Instant::now() + join.timeout.min(EVER),
        })
    }

    /// Asks door after door, round after round, until there is an answer, a refusal that will
    /// stay one, or no more time. The connection is the one on which the answer came.
    pub(super) async fn admission(&self) -> Result<(JoinResponse, Connection), JoinError> {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times()
            .build();
        let mut clock_is_said = false;
        loop {
            let failed = match self.round().await? {
                Round::Answered(answer, connection) => return Ok((*answer, connection)),
                Round::Failed(failed) => failed,
            };
            let wish = failed.wish().map(Duration::from_secs).unwrap_or_default();
            let wanted = pauses.next().unwrap_or(LONGEST_PAUSE).max(wish);
            let left = self.until.saturating_duration_since(Instant::now());
            let pause = cut(wanted, left);
            if let (Some(error), true) = (&failed.temporary, pause < left) {
                let seconds = pause.as_secs_f64().round().max(1.0);
                (self.join.waiting)(&format!("{error}; asking again in {seconds:.0} s"));
            }
            if let (Some(error), false) = (&failed.clock, clock_is_said || pause == left) {
                let most = self.join.timeout.as_secs();
                (self.join.waiting)(&format!("{error}. Waiting for that, at most {most} s"));
                clock_is_said = true;
            }
            match failed.clock {
                Some(_) => pause_until_set(&*self.join.clock, pause).await,
                None => sleep(pause).await,
            }
            if Instant::now() >= self.until {
                return Err(JoinError::TimedOut {
                    seconds: self.join.timeout.as_secs(),
                    last: Box::new(failed.most_telling()?),
                });
            }
        }
    }

    /// Asks each door once, in order.
    async fn round(&self) -> Result<Round, JoinError> {
        let mut failed = Failed::default();
        for door in &self.doors {
            let asked = timeout_at(self.until, self.ask(door)).await;
            let asked = asked
                .unwrap_or_else(|_| Err(unreachable(door, "no answer before the time was over")));
            match asked {
                Ok((answer, connection)) => {
                    return Ok(Round::Answered(Box::new(answer), connection));
                }
                Err(error) if error.is_of_this_door() => {
                    failed.for_good.get_or_insert(error);
                }
                Err(error) if error.is_of_a_clock() => failed.clock = Some(error),
                Err(error) if error.is_temporary() => failed.temporary = Some(error),
                Err(error) => return Err(error),
            }
        }
        match failed {
            Failed {
                temporary: None,
                clock: None,
                for_good,
            } => Err(for_good.unwrap_or(JoinError::NoUrl)),
            failed => Ok(Round::Failed(Box::new(failed))),
        }
    }

    async fn ask(&self, door: &DoorAddress) -> Result<(JoinResponse, Connection), JoinError> {
        let mut connection = self.meet(door).await?;
        let token = Zeroizing::new(self.join.token.render().expose().to_owned());
        let request = attempt::Ask {
            token: SecretText::new(token),
            token_id: &self.token_id,
            csr: self.csr.clone(),
            joiner: self.joiner,
        };
        let answer = attempt::ask(&mut connection, request).await?;
        Ok((answer, connection))
    }

    async fn meet(&self, door: &DoorAddress) -> Result<Connection, JoinError> {
        attempt::meet(door, Arc::clone(&self.tls), &*self.join.clock).await
    }

    /// Tells the door that gave the answer that it is safe.
    pub(super) async fn acknowledge(&self, mut connection: Connection) -> Result<(), JoinError> {
        let door = connection.door().clone();
        let tell = async {
            let mut last = Ok(());
            for tried in 0..ACK_TRIES {
                if tried > 0 {
                    sleep(ACK_PAUSE).await;
                    match self.meet(&door).await {
                        Ok(again) => connection = again,
                        Err(error) => {
                            last = Err(error);
                            continue;
                        }
                    }
                }
                last = attempt::acknowledge(&mut connection, &self.token_id).await;
                if !matches!(&last, Err(error) if error.is_temporary()) {
                    break;
                }
            }
            last
        };
        timeout(ACK_TIME, tell)
            .await
            .unwrap_or_else(|_| Err(unreachable(&door, "it did not answer in time")))
    }
}

enum Round {
    Answered(Box<JoinResponse>, Connection),
    /// Nobody said a lasting no.
    Failed(Box<Failed>),
}

/// What was wrong with the doors, of each kind one. With `for_good` alone asking again is of no use.
#[derive(Default)]
struct Failed {
    temporary: Option<JoinError>,
    /// A clock is wrong, perhaps this machine's.
    clock: Option<JoinError>,
    /// A door that proved not to be the right one, or to which nothing leads.
    for_good: Option<JoinError>,
}

impl Failed {
    /// How long a door wants to be left alone.
    fn wish(&self) -> Option<u64> {
        self.temporary.as_ref()?.retry_after_seconds()
    }

    /// What to say in the end.
    fn most_telling(self) -> Result<JoinError, JoinError> {
        let found = self.for_good.or(self.clock).or(self.temporary);
        found.ok_or(JoinError::NoUrl)
    }
}

/// Pauses, but no longer than until somebody sets this machine's clock.
async fn pause_until_set(clock: &dyn Clock, pause: Duration) {
    let since = Instant::now();
    let now_ms = || u128::from(clock.now_ms());
    let was_ms = now_ms();
    loop {
        let left = pause.saturating_sub(since.elapsed());
        if left.is_zero() {
            return;
        }
        sleep(left.min(CLOCK_LOOK)).await;
        let expected_ms = was_ms + since.elapsed().as_millis();
        if now_ms().abs_diff(expected_ms) > CLOCK_SET_MS {
            return;
        }
    }
}

/// A pause that fits into the time that is left, with some of it for the doors to answer in. When nothing does, it is the
/// rest: whoever gave us so much time has it.
fn cut(wanted: Duration, left: Duration) -> Duration {
    match left.checked_sub(LAST_ROUND) {
        Some(fits) if !fits.is_zero() => wanted.min(fits),
        _ => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_when_somebody_sets_the_clock() {
        let clock = ManualClock::new(8_000);
        let began = Instant::now();
        pause_until_set(&clock, LONGEST_PAUSE).await;
        assert!(began.elapsed() >= LONGEST_PAUSE);

        let (began, set_after) = (Instant::now(), Duration::from_secs(4));
        let set = async {
            sleep(set_after).await;
            clock.set(1_790_000_000_000);
        };
        tokio::join!(pause_until_set(&clock, LONGEST_PAUSE), set);
        assert!(began.elapsed() <= set_after + CLOCK_LOOK * 2);
    }

    #[test]
    fn a_pause_that_does_not_fit_is_cut_to_what_is_left() {
        let ms = Duration::from_millis;
        for (wanted, left, pause) in [
            (500, 20_000, 500),
            (15_000, 20_000, 15_000),
            (15_000, 8_300, 7_300),
            (7_500, 8_300, 7_300),
            (60_000, 1_001, 1),
            (500, 1_000, 1_000),
            (500, 300, 300),
            (500, 0, 0),
        ] {
            assert_eq!(cut(ms(wanted), ms(left)), ms(pause), "{wanted} of {left}");
        }
    }
}
