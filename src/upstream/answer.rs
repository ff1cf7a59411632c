//! Answers of the origin about the resource that a call names.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{UpstreamError, UpstreamFreshness};
use crate::api::{ImageFields, OriginError};
use crate::observability::outcome::CallResult;
use crate::transport::Reply;

/// Answer of the origin about the resource that the call names; every other response is an [`UpstreamError`].
#[derive(Debug, Clone)]
pub struct OriginAnswer {
    /// Meaning of the response.
    pub kind: AnswerKind,
    /// Response as it came, with its status, headers and body.
    pub reply: Reply,
    /// Time at which the answered attempt was sent; the image's time in memory counts from here.
    pub sent: Instant,
    /// Duration of the answered attempt.
    pub took: Duration,
    /// Wall-clock time at which the response was complete, uncorrected.
    pub received: Timestamp,
    /// Age and bound of an image that a cache between had held.
    pub freshness: UpstreamFreshness,
    /// Time after which the API was certainly asked for this answer; `None` if that lies before all times.
    pub asked_after: Option<Instant>,
}

/// Meaning of an answer about the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerKind {
    /// Success, with the fields of the image; they are empty for another operation.
    Success(ImageFields),
    /// The image does not exist.
    NotFound(OriginError),
    /// The gateway's credential may not see this image, or search this workspace.
    Forbidden(OriginError),
}

impl AnswerKind {
    /// Returns the label of the metric.
    #[must_use]
    pub const fn result(&self) -> CallResult {
        match self {
            Self::Success(_) => CallResult::Ok,
            Self::NotFound(_) => CallResult::NotFound,
            Self::Forbidden(_) => CallResult::Forbidden,
        }
    }

    /// Returns the error object of a response that has one.
    #[must_use]
    pub const fn error(&self) -> Option<&OriginError> {
        match self {
            Self::Success(_) => None,
            Self::NotFound(error) | Self::Forbidden(error) => Some(error),
        }
    }
}

/// Returns the metric's label of an attempt.
pub(super) fn call_result(result: &Result<OriginAnswer, UpstreamError>) -> CallResult {
    match result {
        Ok(answer) => answer.kind.result(),
        Err(error) => error.result(),
    }
}

/// Reads the error object of a response; the header's request id stands in where the body has none.
pub(super) fn error_of(reply: &Reply) -> OriginError {
    let mut error = OriginError::parse(reply.status, &reply.body);
    if error.request_id.is_empty() {
        reply.request_id().clone_into(&mut error.request_id);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_error_object_that_the_origin_sent() {
        let error = OriginError {
            code: "ImageNotFound".to_owned(),
            ..OriginError::default()
        };
        assert_eq!(AnswerKind::Success(ImageFields::default()).error(), None);
        for kind in [
            AnswerKind::NotFound(error.clone()),
            AnswerKind::Forbidden(error.clone()),
        ] {
            assert_eq!(kind.error(), Some(&error), "{kind:?}");
        }
    }
}
