//! Responses to clients: the only place that chooses statuses, codes and headers.

mod cache_status;
mod error;
mod resolve_result;
mod resolved_item;
mod seconds;
mod wire;

pub use cache_status::CacheStatus;
pub use error::Error;
pub use resolve_result::{ResolveCounts, ResolveResult};
pub use resolved_item::ResolvedItem;

use std::time::Duration;

use http::header::{AGE, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::api::ErrorBody;
use crate::auth::Visible;
use crate::body::Body;
use crate::cache::Negative;
use crate::cache::lists::ListPage;
use crate::observability::audit::ResponseSummary;
use crate::observability::outcome::Outcome;
use crate::transport::Reply;
use crate::upstream::UpstreamError;
use seconds::Seconds;
use wire::{Wire, bounded_wait};

/// Response as values, which become headers and bytes as the last step.
#[derive(Debug)]
pub struct Answer {
    /// Outcome of the request, for metrics, log and audit.
    pub outcome: Outcome,
    /// HTTP status.
    pub status: StatusCode,
    /// Body, one JSON document or lines of JSON.
    pub body: Body,
    /// `Age`, in seconds.
    pub age: Option<u64>,
    /// `Cache-Status`.
    pub cache_status: Option<CacheStatus>,
    /// Part in `Cache-Status` of the cache that answered this gateway from its memory.
    pub upstream_status: Option<CacheStatus>,
    /// `x-acs-request-id`, the origin's request id.
    pub origin_request_id: Option<HeaderValue>,
    /// `x-acs-retry-after`.
    pub retry_after: Option<Duration>,
    /// `Allow`.
    pub allow: Option<&'static str>,
}

impl Answer {
    fn new(outcome: Outcome, status: StatusCode, body: impl Into<Body>) -> Self {
        Self {
            outcome,
            status,
            body: body.into(),
            age: None,
            cache_status: None,
            upstream_status: None,
            origin_request_id: None,
            retry_after: None,
            allow: None,
        }
    }

    /// Returns the values for access and audit records.
    #[must_use]
    pub const fn summary(&self) -> ResponseSummary<'_> {
        ResponseSummary {
            outcome: self.outcome,
            status: self.status,
            age: self.age,
            origin_request_id: self.origin_request_id.as_ref(),
        }
    }

    /// Builds the HTTP response. `id` is the gateway's own request id. The headers reuse the memory of `used`, the
    /// request's headers; hyper then reads the connection's next request into it, so no request allocates a map.
    #[must_use]
    pub fn into_response(self, id: HeaderValue, used: HeaderMap) -> Response<Body> {
        let mut headers = used;
        headers.clear();
        // There is no content to have a type.
        if self.status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_TYPE, self.body.content_type());
        }
        headers.insert(X_PAI_GATEWAY_REQUEST_ID, id);
        if let Some(seconds) = self.age {
            headers.insert(AGE, AGES.header(seconds));
        }
        if let Some(status) = self.cache_status {
            headers.insert(CACHE_STATUS, status.after(self.upstream_status));
        }
        if let Some(id) = self.origin_request_id {
            headers.insert(X_ACS_REQUEST_ID, id);
        }
        if let Some(wait) = self.retry_after {
            // Rounded up: at the moment itself there is room, and just before it there is none.
            let milliseconds = wait.as_nanos().div_ceil(1_000_000).max(1);
            let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
            headers.insert(X_ACS_RETRY_AFTER, HeaderValue::from(milliseconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

/// Returns the response with an image from memory.
#[must_use]
pub fn image(seen: Visible<'_>, age: Duration, outcome: Outcome, status: CacheStatus) -> Answer {
    let entry = seen.entry();
    Answer {
        age: Some(age.as_secs()),
        cache_status: Some(status),
        origin_request_id: entry.request_id(),
        ..Answer::new(outcome, StatusCode::OK, entry.body())
    }
}

/// Returns the response with a list that the client may see.
#[must_use]
pub fn list(page: &ListPage, age: Duration, outcome: Outcome, status: CacheStatus) -> Answer {
    Answer {
        age: Some(age.as_secs()),
        cache_status: Some(status),
        origin_request_id: page.request_id.clone(),
        ..Answer::new(outcome, StatusCode::OK, page.body.clone())
    }
}

/// Returns the response with the origin's negative answer.
#[must_use]
pub fn negative(
    negative: &Negative,
    request_id: &str,
    host: &str,
    outcome: Outcome,
    status: CacheStatus,
) -> Answer {
    let error = &negative.error;
    Answer {
        cache_status: Some(status),
        ..from_wire(
            &Wire::of_origin(error, outcome),
            &error.request_id,
            request_id,
            host,
        )
    }
}

/// Returns the origin's response, with its own 2xx status.
#[must_use]
pub fn passthrough(reply: Reply) -> Answer {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    Answer {
        cache_status: Some(CacheStatus::Bypass),
        origin_request_id: reply.headers.get(X_ACS_REQUEST_ID).cloned(),
        ..Answer::new(Outcome::Passthrough, status, reply.body)
    }
}

/// Returns the response with the results of a Resolve.
#[must_use]
pub fn resolved(body: impl Into<Body>, outcome: Outcome) -> Answer {
    Answer::new(outcome, StatusCode::OK, body)
}

/// Returns an error in the API's shape, with the gateway's id for this response. An error of the origin keeps the
/// origin's own id, which the vendor's support asks for.
#[must_use]
pub fn failure(error: &Error, request_id: &str, host: &str) -> Answer {
    let origin_id = match error {
        Error::Origin(error)
        | Error::Upstream(UpstreamError::Refused(error) | UpstreamError::Account(error)) => {
            &error.request_id
        }
        _ => "",
    };
    // A missing and a hidden image must look alike, so neither says whether the cache was asked.
    let is_hidden = matches!(error, Error::ImageNotFound { .. });
    Answer {
        cache_status: is_hidden.then_some(CacheStatus::Undisclosed),
        ..from_wire(&error.wire(), origin_id, request_id, host)
    }
}

fn from_wire(wire: &Wire<'_>, origin_id: &str, request_id: &str, host: &str) -> Answer {
    let body = ErrorBody {
        request_id: if origin_id.is_empty() {
            request_id
        } else {
            origin_id
        },
        host_id: host,
        code: wire.code,
        message: &wire.message,
    };
    let origin_id = (!origin_id.is_empty()).then(|| HeaderValue::from_str(origin_id).ok());
    Answer {
        origin_request_id: origin_id.flatten(),
        retry_after: wire
            .retry_after
            .map(|wait| bounded_wait(wait, fastrand::f64())),
        allow: wire.allow,
        ..Answer::new(wire.outcome, wire.status, body.to_json())
    }
}

/// Cached header values of `Age`.
static AGES: Seconds = Seconds::new("");

/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Header with the origin's request id.
pub const X_ACS_REQUEST_ID: HeaderName = HeaderName::from_static("x-acs-request-id");
/// Header with the gateway's own request id.
pub const X_PAI_GATEWAY_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-pai-gateway-request-id");
/// Header with the milliseconds that a throttled client waits; SDKs treat any response that has it as throttled.
pub const X_ACS_RETRY_AFTER: HeaderName = HeaderName::from_static("x-acs-retry-after");
