//! What is counted of the store: its own view of itself, and every proposal that passes.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::{broadcast, watch};

use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{Issuance, IssuanceEntry, Operation, Record, Settings};
use crate::store::{Change, Committed, Health, StoreError, TokenStore};
use crate::token::{KeyId, TokenId};

use super::Metrics;

/// Reads the store's view of itself when a scrape asks.
#[derive(Debug)]
pub(super) struct HealthCollector(pub(super) watch::Receiver<Health>);

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let health = self.0.borrow().clone();
        let gauges = [
            (
                "store_applied_index",
                "The highest log index applied here",
                number(health.applied_index),
            ),
            (
                "store_committed_index",
                "The highest log index known to be committed",
                number(health.committed_index),
            ),
            (
                "store_ready",
                "1 if this replica is fit to serve, as /readyz says",
                i64::from(health.is_ready()),
            ),
            (
                "store_incomplete",
                "1 if this replica lacks entries that are known to be committed: it does not campaign until it has them",
                i64::from(health.incomplete),
            ),
            (
                "store_leader",
                "1 if this replica leads",
                i64::from(health.is_leader),
            ),
            (
                "store_leader_known",
                "1 if this replica knows a leader",
                i64::from(health.leader_known),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

fn number(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Proposal {
    operation: &'static str,
    result: &'static str,
}

const fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Register(_) => "register",
        Operation::Begin(_) => "begin",
        Operation::Consume(_) => "consume",
        Operation::Acknowledge(_) => "acknowledge",
        Operation::Revert(_) => "revert",
        Operation::Abort(_) => "abort",
        Operation::Revoke(_) => "revoke",
        Operation::Sweep(_) => "sweep",
        Operation::Forget(_) => "forget",
        Operation::Configure(_) => "configure",
        Operation::AdoptKey(_) => "adopt_key",
        Operation::Founded(_) => "founded",
        Operation::RaiseRules(_) => "raise_rules",
    }
}

const fn fate(committed: &Result<Committed, StoreError>) -> &'static str {
    match committed {
        Ok(_) => "committed",
        Err(StoreError::NoLeader) => "no_leader",
        Err(StoreError::Unknown) => "unknown",
        Err(StoreError::Clock) => "clock",
        Err(StoreError::KeysAmiss) => "keys_amiss",
        Err(StoreError::Stopped) => "stopped",
    }
}

#[derive(Debug, Clone)]
pub(crate) struct StoreMetrics {
    proposals: Family<Proposal, Counter>,
    commit_duration: Histogram,
}

impl StoreMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            proposals: Family::default(),
            // 0.1 ms to 1.6 s: a commit is a sync of the disk and a round trip to the others.
            commit_duration: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
        };
        registry.register(
            "proposals",
            "Operations proposed here by kind and by what became of them",
            metrics.proposals.clone(),
        );
        registry.register_with_unit(
            "commit_duration",
            "How long a committed operation took",
            Unit::Seconds,
            metrics.commit_duration.clone(),
        );
        metrics
    }
}

/// A store whose proposals are counted.
pub struct MeteredStore {
    store: Arc<dyn TokenStore>,
    metrics: StoreMetrics,
}

impl MeteredStore {
    /// Counts in `metrics` what is proposed to `store`.
    pub fn new(store: Arc<dyn TokenStore>, metrics: &Metrics) -> Self {
        Self {
            store,
            metrics: metrics.store.clone(),
        }
    }
}

impl TokenStore for MeteredStore {
    fn propose(&self, operation: Operation) -> BoxFuture<'_, Result<Committed, StoreError>> {
        async move {
            let operation_name = name(&operation);
            let start = Instant::now();
            let committed = self.store.propose(operation).await;
            if committed.is_ok() {
                let took = start.elapsed().as_secs_f64();
                self.metrics.commit_duration.observe(took);
            }
            let proposal = Proposal {
                operation: operation_name,
                result: fate(&committed),
            };
            self.metrics.proposals.get_or_create(&proposal).inc();
            committed
        }
        .boxed()
    }

    fn barrier(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.barrier()
    }

    fn record(&self, token_id: &TokenId) -> Option<Record> {
        self.store.record(token_id)
    }

    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.store.issuance(issuance)
    }

    fn live_part(&self, from: u32) -> (Vec<Issuance>, Option<u32>) {
        self.store.live_part(from)
    }

    fn keys(&self) -> Vec<AdoptKey> {
        self.store.keys()
    }

    fn key(&self, key_id: &KeyId) -> Option<AdoptKey> {
        self.store.key(key_id)
    }

    fn key_count(&self) -> usize {
        self.store.key_count()
    }

    fn founded(&self) -> Option<Founded> {
        self.store.founded()
    }

    fn restored_at(&self) -> Option<u64> {
        self.store.restored_at()
    }

    fn settings(&self) -> Settings {
        self.store.settings()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.store.changes()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.store.health()
    }
}
