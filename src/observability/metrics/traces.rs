//! Metrics of traces that are sent away.

use super::Counters;
use super::label::closed_labels;
use super::register::metrics;

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

/// How a sending of spans to the collector ended; the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// What became of a span; the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanFate {
    /// The collector has it.
    Exported,
    /// It was in a sending that failed.
    Lost,
    /// There was no room for it in the queue.
    Dropped,
}

impl TraceMetrics {
    /// Counts one sending.
    pub fn sent(&self, result: ExportResult) {
        self.exports.of(result).inc();
    }

    /// Counts spans that have met their fate.
    pub fn ended(&self, fate: SpanFate, spans: u64) {
        self.spans.of(fate).inc_by(spans);
    }
}

impl ExportResult {
    /// In the order of the discriminants.
    const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Timeout, Self::Transport];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
        }
    }
}

impl SpanFate {
    const ALL: [Self; 3] = [Self::Exported, Self::Lost, Self::Dropped];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Lost => "lost",
            Self::Dropped => "dropped",
        }
    }
}
