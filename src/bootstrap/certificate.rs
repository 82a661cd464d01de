//! The door's own certificate: made at the start, and anew long before it ends.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::pki::{Authority, DoorIdentity, PkiError, TrustDomain};

/// How long one lives; the next is made when a third of that is left.
const LIFETIME_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// One that could not be made is tried again after so long.
const RETRY: Duration = Duration::from_secs(60);

/// Makes the door's certificates.
pub struct DoorCertificates {
    ca: Arc<Authority>,
    trust_domain: TrustDomain,
    dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
    clock: Arc<dyn Clock>,
}

impl DoorCertificates {
    /// By the door's CA, for the hosts (names or addresses) under which joiners reach the door.
    pub fn new(
        ca: Arc<Authority>,
        trust_domain: TrustDomain,
        hosts: &[String],
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (addresses, dns_names): (Vec<_>, Vec<_>) = hosts
            .iter()
            .partition(|host| host.parse::<IpAddr>().is_ok());
        Self {
            ca,
            trust_domain,
            dns_names: dns_names.into_iter().cloned().collect(),
            addresses: addresses
                .into_iter()
                .filter_map(|host| host.parse().ok())
                .collect(),
            clock,
        }
    }

    /// The first certificate, and a task without an end that makes the following ones.
    ///
    /// # Errors
    /// When the first cannot be made: a host that is no name, a CA that has ended.
    pub fn keep(
        self,
    ) -> Result<(watch::Receiver<Arc<DoorIdentity>>, impl Future<Output = ()>), PkiError> {
        let (publish, identity) = watch::channel(Arc::new(self.issue()?));
        Ok((identity, self.renew(publish)))
    }

    fn issue(&self) -> Result<DoorIdentity, PkiError> {
        DoorIdentity::issue(
            &self.ca,
            &self.trust_domain,
            &self.dns_names,
            &self.addresses,
            self.clock.now_ms(),
            LIFETIME_MS,
        )
    }

    async fn renew(self, publish: watch::Sender<Arc<DoorIdentity>>) {
        loop {
            let due_ms = publish
                .borrow()
                .not_after_ms()
                .saturating_sub(LIFETIME_MS / 3);
            let wait_ms = due_ms.saturating_sub(self.clock.now_ms());
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            match self.issue() {
                Ok(next) => {
                    publish.send_replace(Arc::new(next));
                }
                Err(error) => {
                    tracing::error!(%error, "the door's certificate could not be renewed");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::pki::CaRole;

    const NOW: u64 = 1_790_000_000_000;

    #[tokio::test(start_paused = true)]
    async fn the_next_certificate_comes_when_a_third_of_the_life_is_left() {
        let domain: TrustDomain = "edge.example".parse().unwrap();
        let ca = Arc::new(Authority::generate(CaRole::Door, &domain, NOW).unwrap());
        let clock = ManualClock::new(NOW);
        let hosts = ["::1".to_owned(), "join.edge.example".to_owned()];
        let certificates = DoorCertificates::new(ca, domain, &hosts, Arc::new(clock.clone()));
        assert_eq!(certificates.dns_names, ["join.edge.example"]);
        assert_eq!(certificates.addresses, ["::1".parse::<IpAddr>().unwrap()]);

        let (mut identity, renew) = certificates.keep().unwrap();
        let task = tokio::spawn(renew);
        assert_eq!(
            identity.borrow_and_update().not_after_ms(),
            NOW + LIFETIME_MS
        );
        tokio::time::sleep(Duration::from_millis(LIFETIME_MS / 3 * 2 - 1_000)).await;
        assert!(!identity.has_changed().unwrap(), "it is not due yet");

        let later = NOW + LIFETIME_MS / 3 * 2;
        clock.set(later);
        identity.changed().await.unwrap();
        assert_eq!(identity.borrow().not_after_ms(), later + LIFETIME_MS);
        task.abort();
    }
}
