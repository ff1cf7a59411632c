//! Audit log: one line of JSON for each request that an operator may have to account for.
//!
//! Denied, missed, forced, passed and failed requests are always written; hits, and what is malformed
//! or over budget, by sample. So are refused sign-ins and refused admin tokens, at most 20 a second, and
//! every purge. A request never waits for the file: a thread of its own writes, and lines that it cannot write are
//! counted in `audit_lines_lost_total`.

mod file;
mod refusal_limit;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Action, ImageId};
use crate::observability::logging::{Condition, LineQueue, LineSink};
use crate::observability::metrics::Metrics;
use crate::observability::outcome::Outcome;
use crate::peer::Peer;
use file::AppendFile;
use refusal_limit::RefusalLimit;

/// The `[audit]` settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Destination of the audit lines: `stdout`, `stderr`, `off`, or a file to append to. Purges and refused admin
    /// tokens are always written, requests and refused sign-ins where clients sign in.
    pub to: String,
    /// Share of hits and of rejected requests that is written, from 0 to 1.
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

/// Bytes of lines that may wait to be written: some ten thousand, a second's worth of a busy gateway.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Refused sign-ins and admin tokens that are written each second; the next record says how many were not.
const MAX_REFUSALS_PER_SECOND: u32 = 20;

/// Writer of audit records: to standard output, standard error or a file, from a thread of its own.
#[derive(Debug)]
pub struct AuditWriter {
    lines: LineQueue,
    /// The setting, to name it in the log.
    to: String,
    hits: f64,
    refusals: Mutex<RefusalLimit>,
    metrics: Arc<Metrics>,
}

/// Answered request, as access log and audit record it.
#[derive(Debug)]
pub struct AccessRecord<'a> {
    /// Name of the client.
    pub client: &'a str,
    /// Other end of its connection.
    pub peer: &'a Peer,
    /// Operation of the request.
    pub action: Action,
    /// Image of the request, if it names one.
    pub image: Option<&'a ImageId>,
    /// The response.
    pub response: ResponseSummary<'a>,
    /// Reason why authentication failed, if it did.
    pub refused: Option<&'static str>,
    /// The gateway's own id of the response.
    pub request_id: &'a str,
}

/// Values of a response that records and spans contain.
#[derive(Debug, Clone, Copy)]
pub struct ResponseSummary<'a> {
    /// Outcome of the request.
    pub outcome: Outcome,
    /// HTTP status.
    pub status: StatusCode,
    /// `Age` in seconds, for a response from cache.
    pub age: Option<u64>,
    /// Request id of the origin's response.
    pub origin_request_id: Option<&'a HeaderValue>,
}

/// A purge that was carried out.
#[derive(Debug, Clone, Serialize)]
pub struct PurgeRecord {
    /// The one image, if one was named.
    pub image_id: Option<String>,
    /// The workspace, if one was named.
    pub workspace_id: Option<String>,
    /// Soft: the images are kept for the time when the origin fails.
    pub soft: bool,
    /// Entries removed here.
    pub purged: u64,
}

#[derive(Serialize)]
struct RequestLine<'a> {
    timestamp: String,
    request_id: &'a str,
    client: &'a str,
    peer: String,
    operation: &'static str,
    image_id: Option<&'a str>,
    outcome: &'static str,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<u64>,
    status: u16,
    age_seconds: Option<u64>,
    origin_request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AdminLine<'a> {
    timestamp: String,
    client: &'static str,
    peer: String,
    operation: &'static str,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<u64>,
    #[serde(flatten)]
    purge: Option<&'a PurgeRecord>,
}

/// The client of an admin request: it has no name but the token.
const ADMIN: &str = "admin";

impl AuditWriter {
    /// Opens the output and starts its thread; `None` for `off`.
    ///
    /// # Errors
    /// A file that cannot be opened for appending, or an operating system that refuses another thread.
    pub fn open(config: &Config, metrics: Arc<Metrics>) -> io::Result<Option<Self>> {
        let lines = match config.to.as_str() {
            "off" => return Ok(None),
            // Not the buffered handle: its buffer would be written at exit, however long that takes.
            "stdout" => {
                let stdout = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
                start(stdout, config, &metrics)?
            }
            "stderr" => start(io::stderr(), config, &metrics)?,
            path => start(AppendFile::open(path)?, config, &metrics)?,
        };
        metrics.audit_lost.expose();
        Ok(Some(Self {
            lines,
            to: config.to.clone(),
            hits: config.hits,
            refusals: Mutex::new(RefusalLimit::new(MAX_REFUSALS_PER_SECOND)),
            metrics,
        }))
    }

    /// Notes a request, if it is one to be noted.
    pub fn record(&self, record: &AccessRecord<'_>) {
        let omitted = match record.refused {
            Some(_) => self.admit_refusal(),
            None => self.is_sampled(record.response.outcome).then_some(0),
        };
        if let Some(omitted) = omitted {
            self.push(&request_line(record, omitted));
        }
    }

    /// Notes an admin request that had no valid token.
    pub fn record_admin_refusal(&self, peer: &Peer, reason: &'static str) {
        if let Some(omitted) = self.admit_refusal() {
            self.push(&AdminLine {
                timestamp: Timestamp::now().to_string(),
                client: ADMIN,
                peer: peer.to_string(),
                operation: "Admin",
                decision: "refused",
                reason: Some(reason),
                omitted: (omitted > 0).then_some(omitted),
                purge: None,
            });
        }
    }

    /// Notes a purge.
    pub fn record_purge(&self, peer: &Peer, purge: &PurgeRecord) {
        self.push(&AdminLine {
            timestamp: Timestamp::now().to_string(),
            client: ADMIN,
            peer: peer.to_string(),
            operation: "Purge",
            decision: "done",
            reason: None,
            omitted: None,
            purge: Some(purge),
        });
    }

    /// Blocks until every queued record is written or lost, at most for `timeout`.
    pub fn flush(&self, timeout: Duration) {
        self.lines.flush(timeout);
    }

    /// Admits one more refusal, with the number of those omitted since the last one; `None` over the limit.
    fn admit_refusal(&self) -> Option<u64> {
        self.refusals.lock().admit(Instant::now())
    }

    fn push(&self, line: &impl Serialize) {
        let queued = serde_json::to_vec(line).is_ok_and(|mut text| {
            text.push(b'\n');
            self.lines.push(&text)
        });
        if !queued {
            self.metrics.audit_lost.inc();
            let conditions = &self.metrics.conditions;
            conditions.occurred(Condition::AuditLost, self.to.clone(), || {
                "they come faster than they can be written".to_owned()
            });
        }
    }

    fn is_sampled(&self, outcome: Outcome) -> bool {
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

/// Starts the thread, which counts what it could not write, and says so.
fn start(output: impl LineSink, config: &Config, metrics: &Arc<Metrics>) -> io::Result<LineQueue> {
    let (to, metrics) = (config.to.clone(), Arc::clone(metrics));
    LineQueue::start("audit", MAX_QUEUED_BYTES, output, move |written| {
        let conditions = &metrics.conditions;
        match written.result {
            Ok(()) => conditions.recovered(Condition::AuditLost, to.clone()),
            Err(error) => {
                metrics.audit_lost.inc_by(written.lost);
                conditions.occurred(Condition::AuditLost, to.clone(), || error.to_string());
            }
        }
    })
}

fn request_line<'a>(record: &AccessRecord<'a>, omitted: u64) -> RequestLine<'a> {
    let response = record.response;
    let origin_request_id = response.origin_request_id;
    RequestLine {
        timestamp: Timestamp::now().to_string(),
        request_id: record.request_id,
        client: record.client,
        peer: record.peer.to_string(),
        operation: record.action.as_str(),
        image_id: record.image.map(ImageId::as_str),
        outcome: response.outcome.as_str(),
        decision: if response.status.is_success() {
            "shown"
        } else if response.outcome == Outcome::Denied {
            "denied"
        } else {
            "refused"
        },
        reason: record.refused,
        omitted: (omitted > 0).then_some(omitted),
        status: response.status.as_u16(),
        age_seconds: response.age,
        origin_request_id: origin_request_id.and_then(|id| id.to_str().ok()),
    }
}
