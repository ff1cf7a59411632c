//! Logs, and how errors are told in them.

mod conditions;
mod episode;
mod lines;
mod panics;

pub use conditions::{Condition, Conditions};
pub use lines::{BatchReport, LineQueue, LineSink, WritePosition};

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

/// How a line looks.
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
    /// Reads the level.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn filter(&self) -> Result<EnvFilter, String> {
        EnvFilter::builder()
            .parse(&self.level)
            .map_err(|error| error.to_string())
    }
}

/// The process's log. Dropping it gives the last lines half a second to be written.
#[derive(Debug)]
pub struct Log(LogHandle);

impl Log {
    /// The handle by which the running log is changed and watched.
    #[must_use]
    pub fn level(&self) -> LogHandle {
        self.0.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.lines.flush(FLUSH_TIMEOUT);
    }
}

/// A handle to the running log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: LineQueue,
}

impl LogHandle {
    /// Logs at another level from now on.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays.
    pub fn set(&self, config: &Config) -> Result<(), String> {
        self.filter
            .reload(config.filter()?)
            .map_err(|error| error.to_string())
    }

    /// Lines that nobody took.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lines.lost()
    }
}

/// Bytes of lines that may wait for a reader: some thousands of lines.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// Time for the last lines to be written when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// Shortest time between two lines about lost lines.
const LOST_LINES_INTERVAL: Duration = Duration::from_secs(60);

/// Starts logging to standard error, by a thread that alone waits for its reader. The first call counts.
///
/// # Errors
/// When the level cannot be read, or logging has been started before.
pub fn start(config: &Config) -> Result<Log, String> {
    let (filter, handle) = reload::Layer::new(config.filter()?);
    let queue = LineQueue::start("log", MAX_QUEUED_BYTES, io::stderr(), report_lost_lines())
        .map_err(|error| error.to_string())?;
    let writer = queue.clone();
    let lines = fmt::layer()
        .with_writer(move || EventWriter(writer.clone()))
        .with_ansi(io::stderr().is_terminal())
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

/// One event on its way into the queue; the subscriber writes it in one call.
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

/// Says how many lines are missing, once lines are taken again.
fn report_lost_lines() -> impl FnMut(BatchReport) {
    let (mut said, mut last) = (0, None::<Instant>);
    move |written| {
        let lost = written.lost_total;
        let is_due = last.is_none_or(|last| last.elapsed() >= LOST_LINES_INTERVAL);
        if written.result.is_err() || lost <= said || !is_due {
            return;
        }
        tracing::warn!(
            lost = lost - said,
            "log lines were lost before this one: standard error was not read, or could not be written"
        );
        (said, last) = (lost, Some(Instant::now()));
    }
}
