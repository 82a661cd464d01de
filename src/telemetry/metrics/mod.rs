//! What is counted, in the OpenMetrics text format. Every label has a closed set of values: what
//! callers or users choose (names, addresses, ids) never becomes one.

mod controller;
mod door;
mod log;
mod store;

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

use crate::store::Health;

pub use controller::{ControllerMetrics, Counted, Reconciled};
pub use door::DoorMetrics;
pub use store::MeteredStore;

use store::{HealthCollector, StoreMetrics};

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// 1 while every key is as the store was founded with it.
    pub keys_in_order: Gauge,
    /// For how many seconds the keys have not been seen; 0, if the last look saw them.
    pub keys_unseen: Gauge,
    /// 1 while how far the log has been is remembered outside of the data folder.
    pub mark_in_order: Gauge,
    /// The controller's part.
    pub controller: ControllerMetrics,
    /// The door's part: also who writes its refusals down.
    pub door: DoorMetrics,
    pub(super) store: StoreMetrics,
}

impl Metrics {
    /// All counters at zero; the store's indices are read from `health` whenever somebody asks.
    pub fn new(health: watch::Receiver<Health>) -> Self {
        let mut registry = Registry::with_prefix("jointoken");
        registry.register(
            "build",
            "The release that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(HealthCollector(health)));
        registry.register_collector(Box::new(log::LogCollector));
        let keys_in_order = Gauge::default();
        keys_in_order.set(1);
        registry.register(
            "keys_in_order",
            "1 while every key is as the store was founded with it; else nothing is minted or signed",
            keys_in_order.clone(),
        );
        let keys_unseen = Gauge::default();
        registry.register_with_unit(
            "keys_unseen",
            "For how long the keys could not be looked at, as of the last look; 0 while they can",
            Unit::Seconds,
            keys_unseen.clone(),
        );
        let mark_in_order = Gauge::default();
        mark_in_order.set(1);
        registry.register(
            "mark_in_order",
            "1 while how far the log has been is remembered outside of the data folder, as far as this replica has to see to it",
            mark_in_order.clone(),
        );
        let store = StoreMetrics::register(registry.sub_registry_with_prefix("store"));
        let controller =
            ControllerMetrics::register(registry.sub_registry_with_prefix("controller"));
        registry.register_collector(controller.phases());
        let door = DoorMetrics::register(registry.sub_registry_with_prefix("door"));
        Self {
            registry,
            keys_in_order,
            keys_unseen,
            mark_in_order,
            controller,
            door,
            store,
        }
    }

    /// The text that a scrape gets.
    ///
    /// # Errors
    /// If a metric refuses to be written, which none of ours does.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
