//! The report: a table of scenes, or of rows at the account's quota.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::Outcome;
use super::load::Tally;
use super::watch::Spread;

/// A table, and what is said below it.
pub(crate) struct Report<L> {
    pub(crate) rows: Vec<L>,
    pub(crate) notes: Vec<String>,
}

/// A line of a table.
pub(crate) trait Line {
    /// The table's first two lines.
    const HEAD: &str;

    fn cells(&self) -> String;

    /// Conditions that must hold, shown in the last column.
    fn bars(&self) -> &[Bar];
}

/// One scene.
pub(crate) struct Row {
    pub(crate) scene: String,
    /// GetImage requests that reached the origin.
    pub(crate) calls: u64,
    /// The fewest that would do; none where there is no such number.
    pub(crate) ideal: Option<f64>,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
    pub(crate) bars: Vec<Bar>,
}

/// A condition that must hold.
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) holds: bool,
}

impl Row {
    /// Not one request may fail.
    pub(crate) fn all_answered(mut self) -> Self {
        let holds = self.tally.failed == 0;
        self.bars.push(Bar {
            what: "no failed request".to_owned(),
            holds,
        });
        self
    }

    /// The origin may hear so many times the ideal.
    pub(crate) fn at_most(mut self, times: f64) -> Self {
        self.bars.push(Bar {
            what: format!("calls ≤ {times} × ideal"),
            holds: self.ratio().is_some_and(|ratio| ratio <= times),
        });
        self
    }

    /// The last gateway must answer the new version in time, and none the old one after it.
    pub(crate) fn spread(mut self, spread: &Spread, bar: Duration) -> Self {
        let told = spread
            .longest
            .map_or_else(|| "not all".to_owned(), |longest| format!("{longest:.0?}"));
        self.bars.push(Bar {
            what: format!("all updated within {} s ({told})", bar.as_secs()),
            holds: spread.longest.is_some_and(|longest| longest <= bar),
        });
        self.bars.push(Bar {
            what: "no replica returns to the old version".to_owned(),
            holds: spread.regressions == 0,
        });
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.ideal.map(|ideal| self.calls as f64 / ideal)
    }
}

impl Line for Row {
    const HEAD: &str = "| scene | calls | ideal | × | answered | retried | failed | marked stale \
        | greatest staleness | slowest | took | bar |\n|---|---|---|---|---|---|---|---|---|---|---|---|";

    fn cells(&self) -> String {
        let Tally {
            answered,
            refused,
            failed,
            stale,
            oldest,
            slowest,
        } = self.tally;
        let ideal = self
            .ideal
            .map_or_else(|| "–".to_owned(), |ideal| format!("{ideal:.0}"));
        let ratio = self
            .ratio()
            .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        format!(
            "{} | {} | {ideal} | {ratio} | {answered} | {refused} | {failed} | {stale} | {} | {} | {:.1} s",
            self.scene,
            self.calls,
            milliseconds(oldest),
            milliseconds(slowest),
            self.took.as_secs_f64(),
        )
    }

    fn bars(&self) -> &[Bar] {
        &self.bars
    }
}

impl Bar {
    fn text(&self) -> String {
        let verdict = if self.holds { "✓" } else { "**missed**" };
        format!("{} {verdict}", self.what)
    }
}

impl<L> Default for Report<L> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl<L: Line> Report<L> {
    /// Prints it; a failure if any bar was missed.
    pub(crate) fn print(&self, introduction: &str) -> Outcome<ExitCode> {
        let mut out = std::io::stdout();
        writeln!(out, "{introduction}\n\n{}", L::HEAD)?;
        for row in &self.rows {
            let bars: Vec<String> = row.bars().iter().map(Bar::text).collect();
            writeln!(out, "| {} | {} |", row.cells(), bars.join("; "))?;
        }
        for note in &self.notes {
            writeln!(out, "\n{note}")?;
        }
        let mut bars = self.rows.iter().flat_map(Line::bars);
        Ok(match bars.all(|bar| bar.holds) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}

pub(crate) fn milliseconds(time: Duration) -> String {
    match time.as_millis() {
        0 => "–".to_owned(),
        milliseconds => format!("{milliseconds} ms"),
    }
}
