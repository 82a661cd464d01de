//! Waiting for the Kubernetes API before there is a replica: aloud, and alive to whoever probes.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ports::{Watched, WatchedPorts};
use crate::store::Health;
use crate::telemetry::{self, metrics::Metrics};

/// How soon it is tried again: twice as late each time.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);
/// How often it is said what is waited for.
const SAY: Duration = Duration::from_secs(30);

/// Waits, for as long as it takes.
pub struct Patience {
    listen: Watched,
    pause: Duration,
    said: Option<(Instant, String)>,
    /// Answers `/livez` and `/readyz` while nothing else can.
    meanwhile: Option<Meanwhile>,
}

impl Patience {
    pub fn new(listen: Watched) -> Self {
        Self {
            listen,
            pause: FIRST,
            said: None,
            meanwhile: None,
        }
    }

    /// Waits before the next try, and says for what.
    pub async fn wait(&mut self, what: &impl Display) {
        if self.meanwhile.is_none() {
            self.meanwhile = Meanwhile::begin(self.listen);
        }
        let what = what.to_string();
        let is_news =
            (self.said.as_ref()).is_none_or(|(when, said)| when.elapsed() >= SAY || *said != what);
        if is_news {
            tracing::warn!("waiting to start: {what}");
            self.said = Some((Instant::now(), what));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// What was waited for is there: the replica answers for itself from here on.
    pub async fn end(&mut self) {
        self.pause = FIRST;
        if self.said.take().is_some() {
            tracing::info!("what was waited for is there: starting");
        }
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile.end().await;
        }
    }
}

/// Tells of a replica that there is not yet. Dropping it cuts it off.
struct Meanwhile {
    serving: JoinSet<()>,
    stop: CancellationToken,
    /// Nothing is known of the store.
    _health: watch::Sender<Health>,
}

impl Meanwhile {
    /// `None` if the ports cannot be had: whoever starts says so later.
    fn begin(listen: Watched) -> Option<Self> {
        let ports = WatchedPorts::take(listen, true);
        let listeners = ports.and_then(WatchedPorts::listen).ok()?;
        let (health, shown) = watch::channel(Health::default());
        let metrics = Arc::new(Metrics::new(shown.clone()));
        let stop = CancellationToken::new();
        let stopped = || stop.clone().cancelled_owned();
        let mut serving = JoinSet::new();
        let metrics = telemetry::serve_metrics(listeners.metrics, metrics, stopped());
        serving.spawn(metrics);
        let probes = telemetry::serve_probes(listeners.probes, shown, stopped());
        serving.spawn(probes.map(|ended| {
            if let Err(error) = ended {
                tracing::warn!(%error, "probes are not answered while this replica waits");
            }
        }));
        Some(Self {
            serving,
            stop,
            _health: health,
        })
    }

    async fn end(mut self) {
        self.stop.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}
