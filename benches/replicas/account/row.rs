//! A line of the table: calls of the origin, waits of the clients, and the bars.

use std::time::Duration;

use super::Calls;
use super::crowd::Crowd;
use crate::report::{Bar, Line, milliseconds};

/// One row of the bar, measured with some gateways.
pub(crate) struct Row {
    pub(super) gateways: String,
    pub(super) what: String,
    pub(super) calls: Calls,
    pub(super) crowd: Crowd,
    pub(super) bars: Vec<Bar>,
    /// Operations of the shared cache, in words.
    pub(super) shared: String,
}

impl Row {
    /// Adds a bar.
    pub(super) fn must(mut self, what: impl Into<String>, holds: impl Fn(&Self) -> bool) -> Self {
        let holds = holds(&self);
        let what = what.into();
        self.bars.push(Bar { what, holds });
        self
    }

    /// Adds the bars of every row: no call is throttled, and every client gets its answer.
    pub(super) fn in_order(self) -> Self {
        let failed = self.crowd.failed.iter();
        let failed: Vec<_> = failed
            .map(|(status, count)| format!(" ({count} × {status})"))
            .collect();
        let all = format!("every client answered{}", failed.concat());
        self.must("no call throttled", |row| row.calls.throttled == 0)
            .must(all, |row| row.crowd.failed.is_empty())
    }
}

impl Line for Row {
    const HEAD: &str = "| gateways | asked at once | calls | throttled | answered by 2.5 s | wait, p50 | wait, p99 \
        | tries, mean | tries, at most | bar |\n|---|---|---|---|---|---|---|---|---|---|";

    fn cells(&self) -> String {
        let crowd = &self.crowd;
        format!(
            "{} | {} | {} | {} | {} of {} | {} | {} | {:.2} | {}",
            self.gateways,
            self.what,
            self.calls.made,
            self.calls.throttled,
            crowd.answered_by(PATIENCE),
            crowd.size(),
            milliseconds(crowd.wait(0.5)),
            milliseconds(crowd.wait(0.99)),
            crowd.mean_tries(),
            crowd.most_tries(),
        )
    }

    fn bars(&self) -> &[Bar] {
        &self.bars
    }
}

/// The default of `api.wait`: longer no SDK waits by default.
pub(super) const PATIENCE: Duration = Duration::from_millis(2_500);
