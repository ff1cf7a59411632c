//! Records of answered requests: the audit log, the access log and the request's span.

use std::time::Duration;

use super::Gateway;
use crate::api::ImageId;
use crate::observability::audit::{AccessRecord, AuditWriter};
use crate::observability::outcome::Outcome;
use crate::observability::traces::Trace;

impl Gateway {
    /// Writes a record to the logs that are configured, and annotates the request's span.
    pub(super) fn record(&self, record: &AccessRecord<'_>, span: &Trace, took: Duration) {
        if let Some(audit) = self.audit() {
            audit.record(record);
        }
        if let Some(access) = &self.parts.access {
            access.record(record, took, span.id().as_deref());
        }
        annotate(record, span);
    }

    /// Returns the audit log, if clients are authenticated: a record without a client's name has no use there.
    pub(super) fn audit(&self) -> Option<&AuditWriter> {
        let audit = self.parts.audit.as_deref();
        audit.filter(|_| self.parts.auth.is_required())
    }
}

/// Sets the attributes of the request's span.
fn annotate(record: &AccessRecord<'_>, span: &Trace) {
    let response = record.response;
    span.set("operation", || record.action.as_str());
    span.set("client", || record.client.to_owned());
    span.set("outcome", || response.outcome.as_str());
    span.set("http.response.status_code", || {
        i64::from(response.status.as_u16())
    });
    span.set("request.id", || record.request_id.to_owned());
    if let Some(image) = record.image.map(ImageId::as_str) {
        span.set("image.id", || image.to_owned());
    }
    if let Some(age) = response.age {
        span.set("cache.age_seconds", || {
            i64::try_from(age).unwrap_or(i64::MAX)
        });
    }
    if response.outcome == Outcome::Error {
        span.fail("the gateway could not answer");
    }
}
