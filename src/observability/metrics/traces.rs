//! Metrics of traces that are sent away.

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::Counters;
use super::label::closed_labels;
use super::register::metrics;
use crate::observability::outcome::named_variants;

named_variants!(pub ExportResult, SpanFate);
closed_labels! {
    ExportResult => "result",
    SpanFate => "result",
}

metrics! {
    /// Metrics of traces that are sent away. Every span that ended is counted once.
    pub struct TraceMetrics {
        /// Exports of spans to the collector.
        exports: Counters<ExportResult> = "trace_exports_total" at 0,
        /// Finished spans: exported, lost in a failed export, or dropped because the queue was full.
        spans: Counters<SpanFate> = "trace_spans_total" at 0,
    }
}

/// Result of one export of spans to the collector; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ExportResult {
    /// The collector took them.
    Ok,
    /// It answered with another status than 2xx.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// It could not be reached.
    Transport,
}

/// Fate of a finished span; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SpanFate {
    /// The collector has it.
    Exported,
    /// It was in an export that failed.
    Lost,
    /// There was no room for it in the queue.
    Dropped,
}

impl TraceMetrics {
    /// Counts one export.
    pub fn sent(&self, result: ExportResult) {
        self.exports.of(result).inc();
    }

    /// Counts spans by their fate; every span that ended is counted once.
    pub fn ended(&self, fate: SpanFate, spans: u64) {
        self.spans.of(fate).inc_by(spans);
    }
}
