//! The audit: one line of JSON for each request that somebody may have to answer for.
//!
//! Denied, missed, forced, passed and failed requests are always written; hits, and what is malformed
//! or over budget, by sample. A request never
//! waits for the file: lines go through a bounded queue to a task, and those that find it full are
//! counted in `audit_lines_lost_total`.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::api::{Action, ImageId};
use crate::metrics::Metrics;
use crate::outcome::Outcome;
use crate::response::Answer;

/// The `[audit]` settings; for `auth.mode = "required"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `stdout`, `stderr`, `off`, or a file to append to.
    pub to: String,
    /// Share of the hits, and of what is rejected, that is written, from 0 to 1.
    pub hits: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            to: "stdout".to_owned(),
            hits: 0.001,
        }
    }
}

/// Lines that may wait to be written: a second's worth of a busy gateway.
const QUEUE: usize = 8192;

/// Where requests are noted.
#[derive(Debug)]
pub struct Audit {
    lines: Sender<String>,
    hits: f64,
    metrics: Arc<Metrics>,
}

/// Writes what was noted. To be run as a task.
pub struct Scribe {
    lines: Receiver<String>,
    metrics: Arc<Metrics>,
    to: String,
    out: Box<dyn AsyncWrite + Send + Unpin>,
}

/// A request that was answered.
#[derive(Debug)]
pub struct Deed<'a> {
    /// Who asked.
    pub client: &'a str,
    /// What.
    pub action: Action,
    /// About which image, if about one.
    pub image: Option<&'a ImageId>,
    /// What was answered.
    pub answer: &'a Answer,
    /// The gateway's own id of the answer.
    pub request_id: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    client: &'a str,
    operation: &'static str,
    image: Option<&'a str>,
    outcome: &'static str,
    decision: &'static str,
    status: u16,
    age_seconds: Option<u64>,
    origin_request_id: Option<&'a str>,
    request_id: &'a str,
}

impl Audit {
    /// Opens what is written to; `None` for `off`.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub async fn open(
        config: &Config,
        metrics: Arc<Metrics>,
    ) -> io::Result<Option<(Self, Scribe)>> {
        let out: Box<dyn AsyncWrite + Send + Unpin> = match config.to.as_str() {
            "off" => return Ok(None),
            "stdout" => Box::new(tokio::io::stdout()),
            "stderr" => Box::new(tokio::io::stderr()),
            path => Box::new(append_to(path).await?),
        };
        metrics.audit_lost.expose();
        let (sender, lines) = channel(QUEUE);
        let audit = Self {
            lines: sender,
            hits: config.hits,
            metrics,
        };
        let scribe = Scribe {
            lines,
            metrics: Arc::clone(&audit.metrics),
            to: config.to.clone(),
            out,
        };
        Ok(Some((audit, scribe)))
    }

    /// Notes a request, if it is one to be noted.
    pub fn note(&self, deed: &Deed<'_>) {
        if !self.is_noted(deed.answer.outcome) {
            return;
        }
        let lost = match serde_json::to_string(&line(deed)) {
            Ok(line) => self.lines.try_send(line + "\n").is_err(),
            Err(_) => true,
        };
        if lost {
            self.metrics.audit_lost.inc();
        }
    }

    fn is_noted(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Hit | Outcome::Stale | Outcome::Coalesced | Outcome::Rejected => {
                fastrand::f64() < self.hits
            }
            Outcome::Miss
            | Outcome::Refresh
            | Outcome::Negative
            | Outcome::Denied
            | Outcome::Passthrough
            | Outcome::Error => true,
        }
    }
}

fn line<'a>(deed: &Deed<'a>) -> Line<'a> {
    let answer = deed.answer;
    let origin_request_id = answer.origin_request_id.as_ref();
    Line {
        time: Timestamp::now().to_string(),
        client: deed.client,
        operation: deed.action.as_str(),
        image: deed.image.map(ImageId::as_str),
        outcome: answer.outcome.as_str(),
        decision: if answer.status.is_success() {
            "shown"
        } else if answer.outcome == Outcome::Denied {
            "denied"
        } else {
            "refused"
        },
        status: answer.status.as_u16(),
        age_seconds: answer.age,
        origin_request_id: origin_request_id.and_then(|id| id.to_str().ok()),
        request_id: deed.request_id,
    }
}

async fn append_to(path: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.open(path).await
}

impl Scribe {
    /// Writes until `stop`, then what is still there.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let line = tokio::select! {
                line = self.lines.recv() => line,
                () = stop.cancelled() => {
                    self.lines.close();
                    self.lines.recv().await
                }
            };
            let Some(line) = line else { break };
            self.write(line).await;
        }
    }

    /// Writes a line and those behind it. A file that log rotation has moved away is opened anew.
    async fn write(&mut self, first: String) {
        let mut text = first;
        while let Ok(line) = self.lines.try_recv() {
            text.push_str(&line);
        }
        if self.is_file() && !tokio::fs::try_exists(&self.to).await.unwrap_or(true) {
            match append_to(&self.to).await {
                Ok(file) => self.out = Box::new(file),
                Err(error) => tracing::error!(%error, "the audit's file could not be opened anew"),
            }
        }
        let written = async {
            self.out.write_all(text.as_bytes()).await?;
            self.out.flush().await
        };
        if let Err(error) = written.await {
            tracing::error!(%error, "lines of the audit could not be written");
            self.metrics.audit_lost.inc_by(text.lines().count() as u64);
        }
    }

    fn is_file(&self) -> bool {
        !matches!(self.to.as_str(), "stdout" | "stderr")
    }
}
