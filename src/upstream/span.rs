//! What the span of an attempt tells of it.

use super::{Attempt, UpstreamError};
use crate::observability::traces::Trace;

/// Tells how an attempt ended; of what was sent and answered, ids and statuses alone.
pub(super) fn record(step: &Trace, outcome: &Result<Attempt, UpstreamError>) {
    match outcome {
        Ok(attempt) => {
            let reply = &attempt.reply;
            step.set("result", || attempt.verdict.result().as_str());
            step.set("http.response.status_code", || i64::from(reply.status));
            step.set("origin.request.id", || reply.request_id().to_owned());
            if reply.status >= 500 {
                step.fail("the origin failed");
            }
        }
        Err(error) => {
            step.set("result", || error.result().as_str());
            step.fail("no answer of the origin");
        }
    }
}
