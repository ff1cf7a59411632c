//! Totals over the metrics' children, for `GET /status` and the demo's report.

use prometheus::{Histogram, IntCounter};

use super::{Metrics, OUTCOMES, RESULTS, TimedOperation};
use crate::api::Action;
use crate::observability::outcome::{CallResult, Outcome};

impl Metrics {
    /// Returns the answers since the start by outcome, for one operation or for all.
    #[must_use]
    pub fn requests(&self, only: Option<Action>) -> [u64; OUTCOMES] {
        let chosen = || {
            Action::ALL
                .into_iter()
                .filter(move |action| only.is_none_or(|only| only == *action))
        };
        Outcome::ALL.map(|outcome| {
            chosen()
                .filter_map(|action| self.requests.get((action, outcome)))
                .map(IntCounter::get)
                .sum()
        })
    }

    /// Returns the attempts at the origin since the start by result, over all operations.
    #[must_use]
    pub fn upstream_requests(&self) -> [u64; RESULTS] {
        CallResult::ALL.map(|result| {
            Action::ALL
                .into_iter()
                .filter_map(|action| self.upstream_requests.get((action, result)))
                .map(IntCounter::get)
                .sum()
        })
    }

    /// Iterates over GetImage's latency histograms, for the outcomes that have occurred.
    pub fn latencies(&self) -> impl Iterator<Item = (Outcome, &Histogram)> {
        Outcome::ALL.into_iter().filter_map(|outcome| {
            let histogram = self
                .request_durations
                .get((TimedOperation::GetImage, outcome))?;
            Some((outcome, histogram))
        })
    }
}
