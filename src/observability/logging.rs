//! The process's log: lines of `tracing` events on standard error, as text or JSON.
//!
//! - [`start`] installs the subscriber; a thread of its own writes, through the bounded [`LineQueue`], so that no
//!   request waits for the reader of standard error;
//! - [`Conditions`] turn failures that may occur with every request into episodes of a few lines;
//! - panics are logged too.

mod condition;
mod conditions;
mod episode;
mod panics;
mod queue;
mod sink;

pub use condition::Condition;
pub use conditions::{Conditions, OngoingCondition};
pub use queue::{BatchReport, LineQueue};
pub use sink::{LineSink, WritePosition};

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, registry, reload};

/// The `[log]` settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,pai_image_gateway::upstream=debug`.
    pub level: String,
    /// Format of a line.
    pub format: Format,
    /// Writes a line for each request, under the target `access`.
    pub access: bool,
    /// Share of the requests answered from memory that get an access line, from 0 to 1.
    pub access_hits: f64,
}

/// Format of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For a person.
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: Format::Text,
            access: false,
            access_hits: 0.001,
        }
    }
}

impl Config {
    /// Parses `level` into a filter of events.
    ///
    /// # Errors
    /// A text that names the part of the level that cannot be parsed.
    pub fn filter(&self) -> Result<EnvFilter, String> {
        EnvFilter::builder()
            .parse(&self.level)
            .map_err(|error| error.to_string())
    }
}

/// The process's log, kept by `main` until the end: its drop waits at most half a second for the last lines.
#[derive(Debug)]
pub struct Log(LogHandle);

impl Log {
    /// Returns the handle that changes the level and counts lost lines.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        self.0.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.lines.flush(FLUSH_TIMEOUT);
    }
}

/// A handle to the running log, to change its level and to count its lost lines.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: LineQueue,
}

impl LogHandle {
    /// Changes the level of the running log.
    ///
    /// # Errors
    /// A text that says what is wrong with the level; the log keeps the old one.
    pub fn set(&self, config: &Config) -> Result<(), String> {
        self.filter
            .reload(config.filter()?)
            .map_err(|error| error.to_string())
    }

    /// Returns the number of lines lost since the start, mostly because standard error was not read.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lines.lost()
    }
}

/// Bytes of lines that may be queued, which are some thousands of lines.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// Longest wait for the last lines when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// Shortest time between two lines that report lost lines.
const LOST_LINES_INTERVAL: Duration = Duration::from_secs(60);

/// Starts logging to standard error, by a thread of its own; coloured if `may_colour` permits it and a terminal shows it.
/// Only the first call of a process succeeds.
///
/// # Errors
/// A level that cannot be parsed, logging that was started before, or no more threads.
pub fn start(config: &Config, may_colour: bool) -> Result<Log, String> {
    let (filter, handle) = reload::Layer::new(config.filter()?);
    let queue = LineQueue::start("log", MAX_QUEUED_BYTES, io::stderr(), report_lost_lines())
        .map_err(|error| error.to_string())?;
    let writer = queue.clone();
    let lines = fmt::layer()
        .with_writer(move || EventWriter(writer.clone()))
        .with_ansi(may_colour && io::stderr().is_terminal())
        // Its complaints would go to standard error, past the queue.
        .log_internal_errors(false)
        .with_target(false);
    let lines = match config.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = registry().with(filter).with(lines).try_init();
    started.map_err(|error| error.to_string())?;
    panics::log();
    Ok(Log(LogHandle {
        filter: handle,
        lines: queue,
    }))
}

/// Writer of one event into the queue; the subscriber writes an event in one call, so a line is never split.
struct EventWriter(LineQueue);

impl io::Write for EventWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a callback that logs how many lines were lost, once the output takes lines again.
fn report_lost_lines() -> impl FnMut(BatchReport) {
    let (mut reported, mut last) = (0, None::<Instant>);
    move |written| {
        let lost = written.lost_total;
        let is_due = last.is_none_or(|last| last.elapsed() >= LOST_LINES_INTERVAL);
        if written.result.is_err() || lost <= reported || !is_due {
            return;
        }
        tracing::warn!(
            lost = lost - reported,
            "log lines were lost before this one: standard error was not read, or could not be written"
        );
        (reported, last) = (lost, Some(Instant::now()));
    }
}
