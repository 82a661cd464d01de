//! The door's own certificate: made at the start, and anew long before it ends.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::{Clock, Dated, keep_renewed};
use crate::pki::{Authority, DoorIdentity, PkiError, TrustDomain};

/// How long one lives, unless its CA ends before. The next is made when a third of its life is left.
const LIFETIME_MS: u64 = 90 * 24 * 60 * 60 * 1000;

impl Dated for DoorIdentity {
    const WHAT: &'static str = "the door's certificate";

    fn validity_ms(&self) -> (u64, u64) {
        (self.not_before_ms(), self.not_after_ms())
    }
}

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
        keep_renewed(Arc::clone(&self.clock), move |now_ms| {
            DoorIdentity::issue(
                &self.ca,
                &self.trust_domain,
                &self.dns_names,
                &self.addresses,
                now_ms,
                LIFETIME_MS,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, RENEWAL_LOOK as LOOK};
    use crate::pki::{AUTHORITY_LIFETIME_MS, CaRole};

    const NOW: u64 = 1_790_000_000_000;

    /// Certificates by this CA, with the clock they go by.
    fn certificates(ca_since_ms: u64, now_ms: u64) -> (DoorCertificates, ManualClock) {
        let domain: TrustDomain = "edge.example".parse().unwrap();
        let ca = Arc::new(Authority::generate(CaRole::Door, &domain, ca_since_ms).unwrap());
        let clock = ManualClock::new(now_ms);
        let hosts = ["::1".to_owned(), "join.edge.example".to_owned()];
        let certificates = DoorCertificates::new(ca, domain, &hosts, Arc::new(clock.clone()));
        (certificates, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_certificate_comes_when_a_third_of_the_life_is_left() {
        let (certificates, clock) = certificates(NOW, NOW);
        assert_eq!(certificates.dns_names, ["join.edge.example"]);
        assert_eq!(certificates.addresses, ["::1".parse::<IpAddr>().unwrap()]);

        let (mut identity, renew) = certificates.keep().unwrap();
        let task = tokio::spawn(renew);
        let first = Arc::clone(&identity.borrow_and_update());
        assert_eq!(first.not_after_ms(), NOW + LIFETIME_MS);
        let third = (first.not_after_ms() - first.not_before_ms()) / 3;
        clock.set(first.not_after_ms() - third - 1);
        tokio::time::sleep(3 * LOOK).await;
        assert!(!identity.has_changed().unwrap(), "it is not due yet");

        clock.advance(1);
        identity.changed().await.unwrap();
        let next = NOW + LIFETIME_MS - third;
        assert_eq!(identity.borrow().not_after_ms(), next + LIFETIME_MS);
        task.abort();
    }

    /// A pod that starts before its clock is set.
    #[tokio::test(start_paused = true)]
    async fn a_certificate_of_the_future_is_replaced_when_the_clock_is_right() {
        let day = 24 * 60 * 60 * 1000;
        let (certificates, clock) = certificates(NOW, NOW + day);
        let (mut identity, renew) = certificates.keep().unwrap();
        let task = tokio::spawn(renew);
        clock.set(NOW);
        identity.changed().await.unwrap();
        assert!(identity.borrow().not_before_ms() <= NOW);
        task.abort();
    }

    /// In the last weeks of a CA every certificate ends with it, and so the next is due soon. It
    /// used to be due at once: one certificate after the other, without a pause.
    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_ca_makes_no_flood_of_certificates() {
        let hour = 60 * 60 * 1000;
        let ca_end = NOW + AUTHORITY_LIFETIME_MS;
        let (certificates, clock) = certificates(NOW, ca_end - 240 * hour);
        let (mut identity, renew) = certificates.keep().unwrap();
        let task = tokio::spawn(renew);
        let mut made = 0;
        for _ in 0..239 {
            clock.advance(hour);
            tokio::time::sleep(2 * LOOK).await;
            made += usize::from(identity.has_changed().unwrap());
            identity.borrow_and_update();
        }
        // Each lives for a third of what the one before had.
        assert!((3..=8).contains(&made), "{made}");
        // It has ended: an error a minute, and no certificate.
        clock.advance(2 * hour);
        tokio::time::sleep(10 * LOOK).await;
        assert!(!identity.has_changed().unwrap());
        task.abort();
    }
}
