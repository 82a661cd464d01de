//! What this replica shows to the others: made at the start, and anew long before it ends.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::{Clock, Dated, keep_renewed};
use crate::pki::{Authority, PeerIdentity, PkiError, TrustDomain};
use crate::store::PeerAddress;

/// How long one lives, unless its CA ends before. The next is made when a third of its life is left.
const LIFETIME_MS: u64 = 90 * 24 * 60 * 60 * 1000;

impl Dated for PeerIdentity {
    const WHAT: &'static str = "the certificate for peers";

    fn validity_ms(&self) -> (u64, u64) {
        (self.not_before_ms(), self.not_after_ms())
    }
}

/// Makes a replica's certificates.
pub struct PeerCertificates {
    ca: Arc<Authority>,
    trust_domain: TrustDomain,
    address: PeerAddress,
    clock: Arc<dyn Clock>,
}

impl PeerCertificates {
    /// By the peers' CA, for the address under which the other replicas reach this one.
    pub fn new(
        ca: Arc<Authority>,
        trust_domain: TrustDomain,
        address: PeerAddress,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            ca,
            trust_domain,
            address,
            clock,
        }
    }

    /// The first certificate, and a task without an end that makes the following ones.
    ///
    /// # Errors
    /// When the first cannot be made: an address that is none, a CA of another role, one that has ended.
    pub fn keep(
        self,
    ) -> Result<(watch::Receiver<Arc<PeerIdentity>>, impl Future<Output = ()>), PkiError> {
        keep_renewed(Arc::clone(&self.clock), move |now_ms| {
            PeerIdentity::issue(
                &self.ca,
                &self.trust_domain,
                self.address.as_str(),
                now_ms,
                LIFETIME_MS,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, RENEWAL_LOOK};
    use crate::pki::CaRole;

    const NOW: u64 = 1_790_000_000_000;

    fn certificates(role: CaRole, address: &str) -> (PeerCertificates, ManualClock) {
        let domain: TrustDomain = "edge.example".parse().unwrap();
        let ca = Arc::new(Authority::generate(role, &domain, NOW).unwrap());
        let clock = ManualClock::new(NOW);
        let address = PeerAddress::new(address);
        let certificates = PeerCertificates::new(ca, domain, address, Arc::new(clock.clone()));
        (certificates, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_certificate_comes_when_a_third_of_the_life_is_left() {
        let (certificates, clock) = certificates(CaRole::Peers, "node-0:7443");
        let (mut identity, renew) = certificates.keep().unwrap();
        let task = tokio::spawn(renew);
        assert_eq!(
            identity.borrow_and_update().not_after_ms(),
            NOW + LIFETIME_MS
        );
        tokio::time::sleep(3 * RENEWAL_LOOK).await;
        assert!(!identity.has_changed().unwrap(), "it is not due yet");
        clock.advance(LIFETIME_MS * 2 / 3);
        identity.changed().await.unwrap();
        assert_eq!(
            identity.borrow().not_after_ms(),
            NOW + LIFETIME_MS * 2 / 3 + LIFETIME_MS
        );
        task.abort();
    }

    #[test]
    fn the_wrong_ca_and_no_address_are_told_at_the_start() {
        let (wrong, _) = certificates(CaRole::Door, "node-0:7443");
        assert!(matches!(wrong.keep(), Err(PkiError::WrongRole { .. })));
        let (wrong, _) = certificates(CaRole::Peers, "node-0");
        assert!(matches!(wrong.keep(), Err(PkiError::Name(_))));
    }
}
