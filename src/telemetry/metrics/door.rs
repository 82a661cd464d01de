//! What the door counts. Its refusals it hands to the audit.

use std::net::IpAddr;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::bootstrap::{Answered, DoorObserver, Limit, Refused};
use crate::telemetry::audit;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    route: &'static str,
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reached {
    limit: &'static str,
}

/// The door's counters. Clones count together.
#[derive(Debug, Clone)]
pub struct DoorMetrics {
    requests: Family<Ending, Counter>,
    duration: Histogram,
    failed_handshakes: Counter,
    turned_away: Counter,
    limits_reached: Family<Reached, Counter>,
}

impl DoorMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            // 0.5 ms to 16 s: two commits and a signature, or a wait for a leader.
            duration: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            failed_handshakes: Counter::default(),
            turned_away: Counter::default(),
            limits_reached: Family::default(),
        };
        registry.register(
            "requests",
            "Requests by route and what became of them",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From the arrival of a request's body to its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "failed_handshakes",
            "Connections that ended before there was a request",
            metrics.failed_handshakes.clone(),
        );
        registry.register(
            "turned_away_connections",
            "Connections that were one too many of their address, or made room for others",
            metrics.turned_away.clone(),
        );
        registry.register(
            "limits_reached",
            "How often each of the door's limits was reached",
            metrics.limits_reached.clone(),
        );
        metrics
    }
}

impl DoorObserver for DoorMetrics {
    fn refused(&self, refusal: &Refused) {
        audit::refused(refusal);
    }

    fn answered(&self, answered: &Answered) {
        let ending = Ending {
            route: answered.route.as_str(),
            class: answered.class.as_str(),
        };
        self.requests.get_or_create(&ending).inc();
        if !answered.route.is_anonymous() {
            self.duration.observe(answered.duration.as_secs_f64());
        }
    }

    fn turned_away(&self, _address: IpAddr) {
        self.turned_away.inc();
    }

    fn limit_reached(&self, limit: Limit) {
        let limit = limit.as_str();
        self.limits_reached.get_or_create(&Reached { limit }).inc();
    }

    fn handshake_failed(&self, _address: IpAddr) {
        self.failed_handshakes.inc();
    }
}
