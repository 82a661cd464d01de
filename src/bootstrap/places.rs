//! Places for connections: how many there are, how many of them one site may have, who makes room
//! when all are taken, and how many the process has file descriptors for.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::rate::site;

/// File descriptors that connections leave to everything else: the log, snapshots, peers, the API
/// server. A store that cannot open its next file ends the process.
const RESERVED_FILES: u64 = 256;
/// What a machine may take to show its token before it has to make room: five round trips of 200 ms.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing is accepted after the process or the machine ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Places for connections.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    per_site: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    per_site: HashMap<IpAddr, usize>,
    /// Those who may have to make room, in the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    came: u64,
}

struct Waiting {
    since: Instant,
    crowded_out: CancellationToken,
}

/// A place that is taken, until it is dropped.
pub(crate) struct Place {
    site: IpAddr,
    /// Its number in the order in which they came.
    number: u64,
    crowded_out: CancellationToken,
    taken: Arc<Mutex<Taken>>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many places, of which one address (of IPv6: one /64, which is what one site has) may
    /// have `per_site`. There are fewer of both if the process may not open as many files.
    pub(crate) fn new(connections: usize, per_site: usize) -> Self {
        let fit = fit(connections, files_for(connections));
        if fit < connections {
            tracing::warn!(
                connections = fit,
                wanted = connections,
                "the limit of open files is low, so there are fewer places for connections; raise RLIMIT_NOFILE"
            );
        }
        // One site's part stays the same.
        let per_site = per_site.saturating_mul(fit) / connections.max(1);
        Self {
            free: Arc::new(Semaphore::new(fit)),
            per_site: per_site.max(1),
            taken: Arc::default(),
        }
    }

    /// The next connection, with its place. Who has all that one site may have is hung up on. When
    /// all places are taken, who came first of those that have proven nothing makes room, after a
    /// moment: a crowd that only wants the places has to come again and again to keep them.
    ///
    /// `turned_away` is told of whom is hung up on.
    pub(crate) async fn accept(
        &self,
        listener: &TcpListener,
        turned_away: impl Fn(IpAddr),
    ) -> (TcpStream, SocketAddr, Place) {
        loop {
            match listener.accept().await {
                Ok((tcp, remote)) => {
                    let address = remote.ip().to_canonical();
                    match self.take(address).await {
                        Some(place) => return (tcp, remote, place),
                        None => turned_away(address),
                    }
                }
                Err(error) if is_the_callers(&error) => (),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn take(&self, address: IpAddr) -> Option<Place> {
        let site = site(address);
        let has = lock(&self.taken).per_site.get(&site).copied();
        if has.unwrap_or_default() >= self.per_site {
            return None;
        }
        let permit = self.permit().await?;
        let crowded_out = CancellationToken::new();
        let mut taken = lock(&self.taken);
        *taken.per_site.entry(site).or_default() += 1;
        taken.came += 1;
        let number = taken.came;
        let waiting = Waiting {
            since: Instant::now(),
            crowded_out: crowded_out.clone(),
        };
        taken.waiting.insert(number, waiting);
        Some(Place {
            site,
            number,
            crowded_out,
            taken: Arc::clone(&self.taken),
            _permit: permit,
        })
    }
}

impl Places {
    /// A place as soon as there is one. Nobody makes room before [`PATIENCE`] is over: many honest
    /// machines at once would only drive each other out.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let mut permit = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            let first = lock(&self.taken)
                .waiting
                .first_key_value()
                .map(|(_, w)| w.since);
            let due = first.unwrap_or_else(Instant::now) + PATIENCE;
            tokio::select! {
                biased;
                permit = permit.as_mut() => return permit.ok(),
                () = sleep_until(due) => (),
            }
            // Another may be the first by now, who has just come.
            let mut taken = lock(&self.taken);
            if let Some(first) = taken.waiting.first_entry()
                && first.get().since + PATIENCE <= Instant::now()
            {
                first.remove().crowded_out.cancel();
                break;
            }
        }
        permit.await.ok()
    }
}

impl Place {
    /// Is cancelled when somebody else needs the place.
    pub(crate) fn crowded_out(&self) -> CancellationToken {
        self.crowded_out.clone()
    }

    /// From now on it makes room for nobody.
    pub(crate) fn keep(&self) {
        lock(&self.taken).waiting.remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.waiting.remove(&self.number);
        if let Entry::Occupied(mut count) = taken.per_site.entry(self.site) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                // Sites that have no connection are not remembered.
                count.remove();
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether accepting failed because of that one caller, who is gone. Nobody else waits for that.
fn is_the_callers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

/// How many files this process may open. For `connections` the soft limit, 1,024 by custom, is
/// raised as far as the hard one lets it.
fn files_for(connections: usize) -> u64 {
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(RESERVED_FILES);
    let before = getrlimit(Resource::Nofile);
    let soft = before.current.unwrap_or(u64::MAX);
    let raised = wanted.min(before.maximum.unwrap_or(u64::MAX));
    if soft >= raised {
        return soft;
    }
    let limit = Rlimit {
        current: Some(raised),
        maximum: before.maximum,
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => raised,
        Err(_) => soft,
    }
}

/// As many connections as leave enough of `files` to others.
fn fit(connections: usize, files: u64) -> usize {
    let left = files.saturating_sub(RESERVED_FILES.min(files / 2));
    connections
        .min(usize::try_from(left).unwrap_or(usize::MAX))
        .max(1)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// `None`: it is hung up on, or has to wait.
    fn take(places: &Places, address: &str) -> Option<Place> {
        places
            .take(address.parse().unwrap())
            .now_or_never()
            .flatten()
    }

    #[tokio::test]
    async fn one_site_has_its_part_and_no_more() {
        let places = Places::new(8, 2);
        let first = take(&places, "192.0.2.1").unwrap();
        let _second = take(&places, "192.0.2.1").unwrap();
        assert!(take(&places, "192.0.2.1").is_none());
        let _other = take(&places, "192.0.2.2").unwrap();
        // A site has as many addresses of version 6 as it likes.
        let _six = take(&places, "2001:db8::1").unwrap();
        let _seven = take(&places, "2001:db8::ffff:1").unwrap();
        assert!(take(&places, "2001:db8::2").is_none());
        // What was refused took no place.
        assert_eq!(places.free.available_permits(), 3);
        drop(first);
        assert!(take(&places, "192.0.2.1").is_some());
    }

    #[tokio::test]
    async fn sites_that_have_gone_are_forgotten() {
        let places = Places::new(8, 2);
        for last in 0..100 {
            take(&places, &format!("192.0.2.{last}")).unwrap();
        }
        let taken = places.taken.lock().unwrap();
        assert!(taken.per_site.is_empty() && taken.waiting.is_empty());
        assert_eq!(places.free.available_permits(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_and_proved_nothing_makes_room() {
        let places = Arc::new(Places::new(3, 3));
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let proven = places.take(address(1)).await.unwrap();
        proven.keep();
        let first = places.take(address(2)).await.unwrap();
        sleep(PATIENCE / 2).await;
        let second = places.take(address(3)).await.unwrap();
        let next = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.take(address(4)).await.unwrap() })
        };
        let out = |first: &Place| out_of(&[&proven, first, &second]);
        sleep(PATIENCE / 4).await;
        assert_eq!(out(&first), [false; 3], "it has a moment");
        first.crowded_out().cancelled().await;
        // One comes, one goes.
        sleep(4 * PATIENCE).await;
        assert_eq!(out(&first), [false, true, false]);
        drop(first);
        let next = next.await.unwrap();
        // Who has kept its place is not asked, also when there is nobody else.
        second.keep();
        next.keep();
        let more = tokio::time::timeout(10 * PATIENCE, places.take(address(5))).await;
        assert!(more.is_err());
        assert_eq!(out_of(&[&proven, &second, &next]), [false; 3]);
    }

    fn out_of(places: &[&Place; 3]) -> [bool; 3] {
        places.map(|place| place.crowded_out().is_cancelled())
    }

    #[test]
    fn files_are_left_to_the_store() {
        assert_eq!(fit(2_048, u64::MAX), 2_048);
        assert_eq!(fit(2_048, 2_304), 2_048);
        assert_eq!(fit(2_048, 1_024), 768);
        assert_eq!(fit(2_048, 256), 128);
        assert_eq!(fit(2_048, 1), 1);
        assert_eq!(fit(0, 1_024), 1);
    }
}
