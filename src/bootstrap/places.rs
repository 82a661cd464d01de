//! Places for connections: how many there are, how many of them one site may have, and how many
//! the process has file descriptors for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::rate::site;

/// File descriptors that connections leave to everything else: the log, snapshots, peers, the API
/// server. A store that cannot open its next file ends the process.
const RESERVED_FILES: u64 = 256;
/// How long nothing is accepted after the process or the machine ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Places for connections. Clones share them.
#[derive(Clone)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    per_site: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place that is taken, until it is dropped.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    site: IpAddr,
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

    /// The next connection that there is a place for. Who has all that one site may have is hung up
    /// on; who comes when all places are taken waits in the kernel's queue, which costs nothing here.
    pub(crate) async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Place) {
        loop {
            let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else {
                // It is never closed.
                return std::future::pending().await;
            };
            match listener.accept().await {
                Ok((tcp, remote)) => {
                    let address = remote.ip().to_canonical();
                    match self.take(permit, address) {
                        Some(place) => return (tcp, remote, place),
                        None => tracing::debug!(%address, "too many connections of one address"),
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

    fn take(&self, permit: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        let site = site(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(site).or_default();
        if *count >= self.per_site {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place {
            _permit: permit,
            taken: Arc::clone(&self.taken),
            site,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = taken.entry(self.site) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                // Sites that have no connection are not remembered.
                count.remove();
            }
        }
    }
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
    use super::*;

    async fn take(places: &Places, address: &str) -> Option<Place> {
        let permit = Arc::clone(&places.free).try_acquire_owned().unwrap();
        places.take(permit, address.parse().unwrap())
    }

    #[tokio::test]
    async fn one_site_has_its_part_and_no_more() {
        let places = Places::new(8, 2);
        let first = take(&places, "192.0.2.1").await.unwrap();
        let _second = take(&places, "192.0.2.1").await.unwrap();
        assert!(take(&places, "192.0.2.1").await.is_none());
        let _other = take(&places, "192.0.2.2").await.unwrap();
        // A site has as many addresses of version 6 as it likes.
        let _six = take(&places, "2001:db8::1").await.unwrap();
        let _seven = take(&places, "2001:db8::ffff:1").await.unwrap();
        assert!(take(&places, "2001:db8::2").await.is_none());
        // What was refused took no place.
        assert_eq!(places.free.available_permits(), 3);
        drop(first);
        assert!(take(&places, "192.0.2.1").await.is_some());
    }

    #[tokio::test]
    async fn sites_that_have_gone_are_forgotten() {
        let places = Places::new(8, 2);
        for last in 0..100 {
            take(&places, &format!("192.0.2.{last}")).await.unwrap();
        }
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.free.available_permits(), 8);
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
