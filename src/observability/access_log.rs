//! The access log: a line in the log for each request that was answered, those from memory by sample.

use std::time::Duration;

use crate::api::ImageId;
use crate::observability::audit::AccessRecord;
use crate::observability::logging;

/// Writes a line for a request.
#[derive(Debug)]
pub struct AccessLog {
    hits: f64,
}

impl AccessLog {
    /// `None` where the settings want no such lines.
    #[must_use]
    pub fn from_config(config: &logging::Config) -> Option<Self> {
        config.access.then_some(Self {
            hits: config.access_hits,
        })
    }

    /// Writes a line, if it is one to be written. Nothing in it is a client's own text: names come
    /// from the operator, ids are ids.
    pub fn record(&self, record: &AccessRecord<'_>, took: Duration, trace: Option<&str>) {
        let response = record.response;
        if response.outcome.is_from_memory() && fastrand::f64() >= self.hits {
            return;
        }
        let origin_id = response.origin_request_id;
        tracing::info!(
            target: "access",
            operation = record.action.as_str(),
            image_id = record.image.map(ImageId::as_str),
            client = record.client,
            peer = record.peer.to_string(),
            outcome = response.outcome.as_str(),
            reason = record.refused,
            status = response.status.as_u16(),
            age_seconds = response.age,
            took_ms = took.as_secs_f64() * 1000.0,
            request_id = record.request_id,
            origin_request_id = origin_id.and_then(|id| id.to_str().ok()),
            trace_id = trace,
            "request"
        );
    }
}
