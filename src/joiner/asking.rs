//! Asking until there is an answer: which doors, how often, how long.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroizing;

use crate::bootstrap::wire::{JoinResponse, SecretText};
use crate::pki::JoinerKey;
use crate::token::JoinerId;

use super::attempt;
use super::connection::{Connection, unreachable};
use super::{DoorAddress, Join, JoinError, trust};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
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
        loop {
            let failed = match self.round().await? {
                Round::Answered(answer, connection) => return Ok((*answer, connection)),
                Round::Failed(failed) => failed,
            };
            let wish = failed
                .temporary
                .retry_after_seconds()
                .map(Duration::from_secs);
            let pause = pauses
                .next()
                .unwrap_or(LONGEST_PAUSE)
                .max(wish.unwrap_or_default())
                .min(EVER);
            if Instant::now() + pause >= self.until {
                return Err(JoinError::TimedOut {
                    seconds: self.join.timeout.as_secs(),
                    // That a door was not to be trusted is the more telling of the two.
                    last: Box::new(failed.distrusted.unwrap_or(failed.temporary)),
                });
            }
            let seconds = pause.as_secs_f64();
            (self.join.waiting)(&format!(
                "{}; asking again in {seconds:.0} s",
                failed.temporary
            ));
            sleep(pause).await;
        }
    }

    /// Asks each door once, in order.
    async fn round(&self) -> Result<Round, JoinError> {
        let (mut temporary, mut distrusted) = (None, None);
        for door in &self.doors {
            let asked = timeout_at(self.until, self.ask(door)).await;
            let asked = asked
                .unwrap_or_else(|_| Err(unreachable(door, "no answer before the time was over")));
            match asked {
                Ok((answer, connection)) => {
                    return Ok(Round::Answered(Box::new(answer), connection));
                }
                Err(error) if error.is_of_this_door() => {
                    distrusted.get_or_insert(error);
                }
                Err(error) if error.is_temporary() => temporary = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (temporary, distrusted) {
            (Some(temporary), distrusted) => Ok(Round::Failed(Failed {
                temporary,
                distrusted,
            })),
            (None, Some(distrusted)) => Err(distrusted),
            (None, None) => Err(JoinError::NoUrl),
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
    Failed(Failed),
}

struct Failed {
    temporary: JoinError,
    /// A door that proved not to be the right one.
    distrusted: Option<JoinError>,
}
