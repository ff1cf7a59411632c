//! What is counted about traces that are sent away.

use prometheus::IntCounter;

use super::register::Register;

/// What is counted about traces that are sent away. Every span that ended is counted once.
#[derive(Debug)]
pub struct TraceMetrics {
    exports: [IntCounter; 4],
    spans: [IntCounter; 3],
}

/// How a sending of spans to the collector ended; the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
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
    pub(super) fn new(register: &Register<'_>) -> Self {
        let exports = register.counters(
            "trace_exports_total",
            "Sendings of spans to the collector.",
            &["result"],
        );
        let spans = register.counters(
            "trace_spans_total",
            "Spans that ended: exported, lost in a sending that failed, or dropped for want of room.",
            &["result"],
        );
        Self {
            exports: Export::ALL.map(|result| exports.with_label_values(&[result.as_str()])),
            spans: ["exported", "lost", "dropped"].map(|fate| spans.with_label_values(&[fate])),
        }
    }

    /// Counts one sending.
    pub fn sent(&self, result: Export) {
        self.exports[result as usize].inc();
    }

    /// Counts spans that have met their fate.
    pub fn ended(&self, fate: SpanFate, spans: u64) {
        self.spans[fate as usize].inc_by(spans);
    }
}

impl Export {
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
