//! GetImage's latencies by outcome: since the start, and in the last minutes.

use serde_json::{Map, Value, json};

use crate::observability::history::PastHour;
use crate::observability::metrics::{Metrics, quantile};
use crate::observability::outcome::Outcome;

/// Returns the percentiles since the start, in seconds, for the outcomes that have occurred.
pub(super) fn since_the_start(metrics: &Metrics) -> Map<String, Value> {
    let latencies = metrics.latencies().filter_map(|(outcome, histogram)| {
        let (p50, p99) = (quantile(histogram, 0.50)?, quantile(histogram, 0.99)?);
        Some(percentiles(outcome, p50, p99))
    });
    latencies.collect()
}

/// Returns the percentiles of the last minutes and their length; null in the first seconds after a start.
pub(super) fn recent(history: &PastHour) -> Value {
    let Some(recent) = history.recent_latencies() else {
        return Value::Null;
    };
    let latencies = recent.by_outcome.iter();
    let latencies = latencies.map(|(outcome, of)| percentiles(*outcome, of.p50, of.p99));
    let latencies: Map<_, _> = latencies.collect();
    json!({ "seconds": recent.seconds, "latency_seconds": latencies })
}

fn percentiles(outcome: Outcome, p50: f64, p99: f64) -> (String, Value) {
    (
        outcome.as_str().to_owned(),
        json!({ "p50": p50, "p99": p99 }),
    )
}
