//! Places for connections: how many there are, how many of them one site may have, and who makes
//! room when all are taken.

mod files;
mod ledger;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::net::{Progress, Worker, site};

use super::limits::{DoorLimits, Limit, LimitReports};

pub(crate) use ledger::Stage;
use ledger::{Ledger, Number, Room};

/// How long nothing is accepted after the process or the machine ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Places for connections.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    ledger: Arc<Mutex<Ledger>>,
    reports: Option<Arc<LimitReports>>,
    /// Where everybody begins.
    first: Stage,
    /// Those whose connections come from elsewhere: they are of no site until that is known.
    load_balancers: Vec<IpNet>,
}

/// A place that is taken, until it is dropped.
pub(crate) struct Place {
    number: Number,
    crowded_out: CancellationToken,
    address: IpAddr,
    ledger: Arc<Mutex<Ledger>>,
    reports: Option<Arc<LimitReports>>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many places, of which one address (of IPv6: one /64, which is what one site has) may
    /// have `per_site`. There are fewer of both if the process may not open as many files.
    pub(crate) fn new(connections: usize, per_site: usize) -> Self {
        Self::with_kept(connections, per_site, 50)
    }

    /// As the door has them.
    pub(super) fn of_door(limits: &DoorLimits, reports: Arc<LimitReports>) -> Self {
        Self {
            reports: Some(reports),
            first: Stage::Silent,
            load_balancers: limits.proxy_protocol_from.clone(),
            ..Self::with_kept(
                limits.connections,
                limits.connections_per_address,
                limits.kept_percent,
            )
        }
    }

    /// As [`Places::new`]; of all, and of one site's, so many percent are ever kept.
    fn with_kept(connections: usize, per_site: usize, kept_percent: u8) -> Self {
        let fit = files::connections_that_fit(connections);
        if fit < connections {
            tracing::warn!(
                connections = fit,
                wanted = connections,
                "the limit of open files is low, so there are fewer places for connections; raise RLIMIT_NOFILE"
            );
        }
        // One site's part stays the same.
        let per_site = (per_site.saturating_mul(fit) / connections.max(1)).max(1);
        let kept = |of: usize| of.saturating_mul(kept_percent.into()) / 100;
        let ledger = Ledger::new(per_site, kept(fit), kept(per_site));
        Self {
            free: Arc::new(Semaphore::new(fit)),
            ledger: Arc::new(Mutex::new(ledger)),
            reports: None,
            // Without a handshake there is nothing to be seen of how far somebody has come.
            first: Stage::Connected,
            load_balancers: Vec::new(),
        }
    }

    /// The next connection, with its place. When all places are taken, or all that its site may
    /// have, who has come the least far makes room, after a moment: a crowd that only wants the
    /// places has to come again and again to keep them. If nobody of its site can do so yet, it is
    /// hung up on.
    ///
    /// `turned_away` is told of whom is hung up on.
    pub(crate) async fn accept(
        &self,
        listener: &TcpListener,
        turned_away: impl Fn(IpAddr),
    ) -> (TcpStream, SocketAddr, Place) {
        loop {
            let (tcp, remote) = connected(listener).await;
            let address = remote.ip().to_canonical();
            match self.take(address).await {
                Some(place) => return (tcp, remote, place),
                None => turned_away(address),
            }
        }
    }

    async fn take(&self, address: IpAddr) -> Option<Place> {
        if self.load_balancers.iter().any(|net| net.contains(&address)) {
            return Some(self.enter(self.permit(address).await?, address));
        }
        let room = lock(&self.ledger).make_room_at(site(address), Instant::now());
        if room != Ok(Room::ThereIs) {
            report(
                self.reports.as_deref(),
                Limit::ConnectionsPerAddress,
                address,
            );
        }
        let permit = match room.ok()? {
            Room::ThereIs => self.permit(address).await?,
            Room::IsMade => self.next_permit().await?,
        };
        let mut place = self.enter(permit, address);
        place.comes_from(address).then_some(place)
    }

    fn enter(&self, permit: OwnedSemaphorePermit, address: IpAddr) -> Place {
        let (number, crowded_out) = lock(&self.ledger).enter(self.first, Instant::now());
        Place {
            number,
            crowded_out,
            address,
            ledger: Arc::clone(&self.ledger),
            reports: self.reports.clone(),
            _permit: permit,
        }
    }

    /// For a place as soon as there is one: if there is none, one makes room.
    async fn permit(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let mut permit = pin!(self.next_permit());
        tokio::select! {
            biased;
            permit = permit.as_mut() => permit,
            () = self.one_makes_room() => {
                report(self.reports.as_deref(), Limit::Connections, address);
                permit.await
            }
        }
    }

    async fn next_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    async fn one_makes_room(&self) {
        loop {
            let room = lock(&self.ledger).make_room(Instant::now());
            match room {
                Ok(()) => return,
                Err(Some(due)) => sleep_until(due).await,
                // All are kept, or about to leave.
                Err(None) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

impl Place {
    /// Is cancelled when somebody else needs the place.
    pub(crate) fn crowded_out(&self) -> CancellationToken {
        self.crowded_out.clone()
    }

    /// From now on it counts as one of this address' site. `false`: that has all that it may have,
    /// and nobody of it makes room yet.
    pub(super) fn comes_from(&mut self, address: IpAddr) -> bool {
        self.address = address;
        let room = lock(&self.ledger).belongs(self.number, site(address), Instant::now());
        if room != Ok(Room::ThereIs) {
            self.limit_reached(Limit::ConnectionsPerAddress);
        }
        room.is_ok()
    }

    /// Its connection has come so far.
    pub(crate) fn reached(&self, stage: Stage) {
        lock(&self.ledger).reached(self.number, stage, Instant::now());
    }

    /// It makes room for nobody until what is returned is dropped. If as many do so as may, it
    /// makes room after all others.
    pub(crate) fn keep(&self) -> Kept<'_> {
        let mut ledger = lock(&self.ledger);
        ledger.reached(self.number, Stage::Proven, Instant::now());
        let is_kept = ledger.keep(self.number);
        drop(ledger);
        if !is_kept {
            self.limit_reached(Limit::KeptConnections);
        }
        Kept {
            place: self,
            is_kept,
        }
    }

    /// The site that it is of.
    pub(super) fn site(&self) -> IpAddr {
        site(self.address)
    }

    /// Its connection has come to a limit.
    pub(super) fn limit_reached(&self, limit: Limit) {
        report(self.reports.as_deref(), limit, self.address);
    }
}

impl Worker for Place {
    fn waits(&self) {
        self.reached(Stage::Heard);
        self.limit_reached(Limit::Handshakes);
    }

    fn has_had_its_turn(&self) {
        lock(&self.ledger).has_said_nothing_whole(self.number);
    }
}

impl Progress for Place {
    fn answered(&self) {
        self.reached(Stage::Handshaking);
    }

    fn takes_too_much(&self) {
        self.limit_reached(Limit::HandshakeBytes);
    }
}

/// A place that makes room for nobody.
pub(crate) struct Kept<'a> {
    place: &'a Place,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests look at it"))]
    is_kept: bool,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        lock(&self.place.ledger).release(self.place.number, Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.ledger).leave(self.number);
    }
}

fn report(reports: Option<&LimitReports>, limit: Limit, address: IpAddr) {
    if let Some(reports) = reports {
        reports.reached(limit, address);
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next connection.
async fn connected(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(connected) => return connected,
            Err(error) if is_the_callers(&error) => (),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
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
