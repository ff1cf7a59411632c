//! Attributes of an attempt's trace span: statuses and ids alone, never a body or a signature.

use super::answer::call_result;
use super::{OriginAnswer, UpstreamError};
use crate::observability::traces::Trace;

/// Records how an attempt ended, and marks the span as failed where the origin failed or did not answer.
pub(super) fn record(span: &Trace, result: &Result<OriginAnswer, UpstreamError>) {
    span.set("result", || call_result(result).as_str());
    let (status, request_id) = match result {
        Ok(answer) => (answer.reply.status, answer.reply.request_id()),
        Err(error) => match error.answer() {
            Some(answer) => (answer.status, answer.request_id.as_str()),
            None => return span.fail("no answer of the origin"),
        },
    };
    span.set("http.response.status_code", || i64::from(status));
    span.set("origin.request.id", || request_id.to_owned());
    if status >= 500 {
        span.fail("the origin failed");
    }
}
