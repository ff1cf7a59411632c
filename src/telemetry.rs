//! Logs, and how errors are told in them.

mod conditions;
mod episode;

pub use conditions::{Condition, Conditions};

use std::io::IsTerminal;

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
    /// How a line looks.
    pub format: Format,
    /// Whether a line is written for each request, under the target `access`.
    pub access: bool,
    /// Share of the requests answered from memory that get one, from 0 to 1.
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

/// What is logged, to be changed while it is.
#[derive(Debug, Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Logs at another level from now on.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays.
    pub fn set(&self, config: &Config) -> Result<(), String> {
        self.0
            .reload(config.filter()?)
            .map_err(|error| error.to_string())
    }
}

/// Starts logging to standard error. The first call counts.
///
/// # Errors
/// When the level cannot be read, or logging has been started before.
pub fn start(config: &Config) -> Result<Level, String> {
    let (filter, handle) = reload::Layer::new(config.filter()?);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let lines = match config.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = registry().with(filter).with(lines).try_init();
    started.map_err(|error| error.to_string())?;
    Ok(Level(handle))
}

/// An error with all its causes, on one line.
#[must_use]
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.extend([": ", &error.to_string()]);
        cause = error.source();
    }
    text
}
