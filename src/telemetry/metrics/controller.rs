//! What the controller counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// How a reconciliation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reconciled {
    /// Everything is as it should be.
    Done,
    /// Somebody else had changed the resource meanwhile: it is looked at again.
    Again,
    Failed,
}

impl Reconciled {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Again => "again",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    result: &'static str,
}

/// A class of errors or effects, from a closed set of the controller's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Category {
    category: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Effect {
    effect: &'static str,
}

/// The controller's counters. Clones count together.
#[derive(Debug, Clone)]
pub struct ControllerMetrics {
    reconciles: Family<Ending, Counter>,
    duration: Histogram,
    errors: Family<Category, Counter>,
    effects: Family<Effect, Counter>,
    refusals: Family<Category, Counter>,
    replicas_wanted: Gauge,
    replicas_in_group: Gauge,
    watches: Gauge,
    watches_failing: Gauge,
    phases: Phases,
}

/// How many resources there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// By phase, from a closed set of the resource's.
    pub phases: BTreeMap<&'static str, i64>,
    /// Another store's, which are left alone.
    pub foreign: i64,
}

type Count = dyn Fn() -> Counted + Send + Sync;

/// Whoever can say how many resources there are, asked when a scrape asks.
#[derive(Clone, Default)]
struct Phases(Arc<Mutex<Vec<Box<Count>>>>);

impl fmt::Debug for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phases(..)")
    }
}

impl Collector for Phases {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut phases = BTreeMap::new();
        let mut foreign = 0;
        for count in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let counted = count();
            foreign += counted.foreign;
            for (phase, count) in counted.phases {
                *phases.entry(phase).or_insert(0) += count;
            }
        }
        let foreign_resources = encoder.encode_descriptor(
            "controller_foreign_resources",
            "JoinTokens that another store looks after, which this operator leaves alone",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(foreign).encode(foreign_resources)?;
        let mut family = encoder.encode_descriptor(
            "controller_resources",
            "JoinTokens by phase, as this replica watches them",
            None,
            MetricType::Gauge,
        )?;
        for (phase, count) in phases {
            let labels = [("phase", phase)];
            let metric = family.encode_family(&labels)?;
            ConstGauge::new(count).encode(metric)?;
        }
        Ok(())
    }
}

fn number(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

impl ControllerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            // 1 ms to 8 s: a reconciliation is a handful of requests and commits.
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            errors: Family::default(),
            effects: Family::default(),
            refusals: Family::default(),
            replicas_wanted: Gauge::default(),
            replicas_in_group: Gauge::default(),
            watches: Gauge::default(),
            watches_failing: Gauge::default(),
            phases: Phases::default(),
        };
        registry.register(
            "reconciles",
            "Reconciliations of JoinTokens by how they ended",
            metrics.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long a reconciliation took",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "errors",
            "Errors of reconciliations by category",
            metrics.errors.clone(),
        );
        registry.register(
            "effects",
            "Writes to the API server and proposals to the store by kind",
            metrics.effects.clone(),
        );
        registry.register(
            "refusals",
            "Registrations that the store refused by why, such as namespace_live_tokens and namespace_names",
            metrics.refusals.clone(),
        );
        registry.register(
            "replicas_wanted",
            "The replicas of the StatefulSet, as last seen; 0 if none is followed",
            metrics.replicas_wanted.clone(),
        );
        registry.register(
            "replicas_in_group",
            "How many of them are let into the group: the odd number that is not above",
            metrics.replicas_in_group.clone(),
        );
        registry.register(
            "watches",
            "Watches on JoinTokens: one for each namespace that is named, or one for all",
            metrics.watches.clone(),
        );
        registry.register(
            "watches_failing",
            "Of these, how many are of namespaces where JoinTokens could not be listed when last looked",
            metrics.watches_failing.clone(),
        );
        metrics
    }

    /// The collector of resources by phase, to be registered under the prefix of all metrics.
    pub(super) fn phases(&self) -> Box<dyn Collector> {
        Box::new(self.phases.clone())
    }

    /// From now on a scrape asks this too for how many resources there are.
    pub fn count_resources_by(&self, count: impl Fn() -> Counted + Send + Sync + 'static) {
        let mut phases = self.phases.0.lock().unwrap_or_else(PoisonError::into_inner);
        phases.push(Box::new(count));
    }

    /// A reconciliation ended like this and took so long.
    pub fn reconciled(&self, result: Reconciled, took: Duration) {
        let result = result.as_str();
        self.reconciles.get_or_create(&Ending { result }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// A reconciliation failed; `category` is of the controller's closed set.
    pub fn failed(&self, category: &'static str) {
        self.errors.get_or_create(&Category { category }).inc();
    }

    /// The store refused a registration; `category` is of its closed set.
    pub fn refused(&self, category: &'static str) {
        self.refusals.get_or_create(&Category { category }).inc();
    }

    /// The StatefulSet has so many replicas, of which so many are let into the group.
    pub fn scaled(&self, wanted: usize, in_group: usize) {
        self.replicas_wanted.set(number(wanted));
        self.replicas_in_group.set(number(in_group));
    }

    /// JoinTokens are watched in so many places, of which so many cannot be listed.
    pub fn watched(&self, places: usize, failing: usize) {
        self.watches.set(number(places));
        self.watches_failing.set(number(failing));
    }

    /// The controller wrote or proposed something; `effect` is of its closed set.
    pub fn effected(&self, effect: &'static str) {
        self.effects.get_or_create(&Effect { effect }).inc();
    }
}
