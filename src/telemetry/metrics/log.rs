//! What is counted of the log itself.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::telemetry::standard_error::{is_writable, lost};

/// Asks what became of the lines when a scrape asks.
#[derive(Debug)]
pub(super) struct LogCollector;

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let writable = encoder.encode_descriptor(
            "log_writable",
            "1 if the last line of the log could be written to standard error; else the audit waits",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::from(is_writable())).encode(writable)?;
        let lines = encoder.encode_descriptor(
            "log_lines_lost",
            "Lines of the log that could not be written, or found no room while nobody read, changes of tokens and of the store not among them",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(lost()).encode(lines)
    }
}
