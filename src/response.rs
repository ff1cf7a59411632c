//! What goes back to a client: the only place that picks statuses, codes and headers.

mod error;

pub use error::Error;

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::api::{ErrorBody, OriginError};
use crate::auth::Seen;
use crate::cache::Negative;
use crate::outcome::Outcome;
use crate::transport::Reply;
use crate::upstream::UpstreamError;

/// An answer's body, whole in memory.
pub type Body = Full<Bytes>;

/// An answer, and the word for how it came about.
#[derive(Debug)]
pub struct Answer {
    /// What to send.
    pub response: Response<Body>,
    /// The word.
    pub outcome: Outcome,
}

/// `Cache-Status` (RFC 9211) as this gateway says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// Fresh from memory; seconds left.
    Hit(i64),
    /// Stale from memory while it is fetched again; seconds left, so none.
    Revalidating(i64),
    /// Stale from memory because the origin failed.
    OriginError(i64),
    /// Stale from memory because the client has used up its misses; seconds left.
    OverBudget(i64),
    /// Fetched.
    Stored,
    /// Fetched by another request.
    Collapsed,
    /// Fetched because the client asked for it.
    Forced,
    /// The origin's "no", from memory.
    Negative,
    /// Not a matter for the cache.
    Bypass,
}

/// Answers with an image from memory.
#[must_use]
pub fn image(seen: Seen<'_>, age: Duration, outcome: Outcome, status: CacheStatus) -> Answer {
    let entry = seen.entry();
    let mut response = Response::new(Full::new(entry.body()));
    let headers = response.headers_mut();
    headers.clone_from(&IMAGE_HEAD);
    fill(headers, &AGE, HeaderValue::from(age.as_secs()));
    fill(headers, &CACHE_STATUS, status.to_header());
    match entry.request_id() {
        Some(id) => fill(headers, &X_ACS_REQUEST_ID, id),
        None => drop(headers.remove(X_ACS_REQUEST_ID)),
    }
    Answer { response, outcome }
}

/// Names the gateway's own id of an answer.
pub fn identify(response: &mut Response<Body>, id: HeaderValue) {
    fill(response.headers_mut(), &X_PAI_GATEWAY_REQUEST_ID, id);
}

/// What an image's head holds, to be copied and filled: that hashes no name, and a hit is mostly this.
static IMAGE_HEAD: LazyLock<HeaderMap> = LazyLock::new(|| {
    let empty = HeaderValue::from_static("");
    let names = [
        AGE,
        CACHE_STATUS,
        X_ACS_REQUEST_ID,
        X_PAI_GATEWAY_REQUEST_ID,
    ];
    let places = names.map(|name| (name, empty.clone()));
    [(CONTENT_TYPE, JSON)].into_iter().chain(places).collect()
});

/// Sets a header that is there once or not at all.
fn fill(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    match headers.iter_mut().find(|(known, _)| *known == name) {
        Some((_, place)) => *place = value,
        None => {
            headers.insert(name, value);
        }
    }
}

/// Answers with the origin's "no".
#[must_use]
pub fn negative(negative: &Negative, host: &str, outcome: Outcome, status: CacheStatus) -> Answer {
    let mut response = origin_error(&negative.error, host);
    response
        .headers_mut()
        .insert(CACHE_STATUS, status.to_header());
    Answer { response, outcome }
}

/// Hands on what the origin answered.
#[must_use]
pub fn passed(reply: Reply) -> Answer {
    let request_id = reply.headers.get(X_ACS_REQUEST_ID).cloned();
    let mut response = json(StatusCode::OK, reply.body);
    response
        .headers_mut()
        .insert(CACHE_STATUS, CacheStatus::Bypass.to_header());
    response
        .headers_mut()
        .extend(request_id.map(|id| (X_ACS_REQUEST_ID, id)));
    Answer {
        response,
        outcome: Outcome::Passthrough,
    }
}

/// Says that there is no such image: the one template for an image that is not there, that the origin
/// does not show, and that this client may not see. Nothing in it tells which.
fn unseen(code: &str, request_id: &str, host: &str) -> Response<Body> {
    let body = ErrorBody {
        request_id,
        host_id: host,
        code,
        message: "The specified image does not exist.",
    };
    let mut response = json(StatusCode::NOT_FOUND, body.to_json().into());
    response
        .headers_mut()
        .insert(CACHE_STATUS, HeaderValue::from_static("pai-image-gateway"));
    response
}

/// Answers with an error in the API's shape. `request_id` is the gateway's own.
#[must_use]
pub fn failure(error: &Error, request_id: &str, host: &str) -> Answer {
    if let Error::Unseen { outcome, code } = error {
        return Answer {
            response: unseen(code, request_id, host),
            outcome: *outcome,
        };
    }
    if let Error::Origin(error) | Error::Upstream(UpstreamError::Refused(error)) = error {
        return Answer {
            response: origin_error(error, host),
            outcome: Outcome::Passthrough,
        };
    }
    let error::Shape {
        status,
        code,
        retry_after,
        allow,
    } = error.shape();
    let message = error.message();
    let body = ErrorBody {
        request_id,
        host_id: host,
        code,
        message: &message,
    };
    let mut response = json(status, body.to_json().into());
    let headers = response.headers_mut();
    if let Some(wait) = retry_after {
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        headers.insert(X_ACS_RETRY_AFTER, HeaderValue::from(milliseconds));
    }
    if let Some(methods) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    Answer {
        response,
        outcome: error.outcome(),
    }
}

/// The origin's complaint, less what must not leave. Its own RequestId stays: the vendor asks for it.
fn origin_error(error: &OriginError, host: &str) -> Response<Body> {
    let OriginError {
        status,
        code,
        message,
        request_id,
    } = error;
    let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
    let body = ErrorBody {
        request_id,
        host_id: host,
        code,
        message,
    };
    let mut response = json(status, body.to_json().into());
    if let (false, Ok(id)) = (request_id.is_empty(), HeaderValue::from_str(request_id)) {
        response.headers_mut().insert(X_ACS_REQUEST_ID, id);
    }
    response
}

fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    // Those of an image, and a `Connection`.
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, JSON);
    *response.headers_mut() = headers;
    response
}

impl CacheStatus {
    /// The header's value; it never tells the key.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        // Without the machinery of format!: this is written with every hit.
        let with_ttl = |ttl: i64, rest: &str| {
            let mut digits = itoa::Buffer::new();
            let parts = ["pai-image-gateway; hit; ttl=", digits.format(ttl), rest];
            HeaderValue::from_maybe_shared(Bytes::from(parts.concat()))
                .unwrap_or(HeaderValue::from_static("pai-image-gateway; hit"))
        };
        match self {
            Self::Hit(ttl) => with_ttl(ttl, ""),
            Self::Revalidating(ttl) => with_ttl(ttl, "; detail=revalidating"),
            Self::OriginError(ttl) => with_ttl(ttl, "; detail=origin-error"),
            Self::OverBudget(ttl) => with_ttl(ttl, "; detail=over-budget"),
            Self::Stored => HeaderValue::from_static("pai-image-gateway; fwd=uri-miss; stored"),
            Self::Collapsed => {
                HeaderValue::from_static("pai-image-gateway; fwd=uri-miss; collapsed")
            }
            Self::Forced => HeaderValue::from_static("pai-image-gateway; fwd=request; stored"),
            Self::Negative => HeaderValue::from_static("pai-image-gateway; hit; detail=not-found"),
            Self::Bypass => HeaderValue::from_static("pai-image-gateway; fwd=bypass"),
        }
    }
}

/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The origin's id of an answer.
pub const X_ACS_REQUEST_ID: HeaderName = HeaderName::from_static("x-acs-request-id");
/// The gateway's id of an answer.
pub const X_PAI_GATEWAY_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-pai-gateway-request-id");
/// Milliseconds a throttled client waits; SDKs take it as a throttle on any answer that has it.
pub const X_ACS_RETRY_AFTER: HeaderName = HeaderName::from_static("x-acs-retry-after");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_status_says_what_the_table_says() {
        for (status, expected) in [
            (CacheStatus::Hit(123), "pai-image-gateway; hit; ttl=123"),
            (
                CacheStatus::Revalidating(-5),
                "pai-image-gateway; hit; ttl=-5; detail=revalidating",
            ),
            (
                CacheStatus::OriginError(-500),
                "pai-image-gateway; hit; ttl=-500; detail=origin-error",
            ),
            (
                CacheStatus::Stored,
                "pai-image-gateway; fwd=uri-miss; stored",
            ),
            (
                CacheStatus::Collapsed,
                "pai-image-gateway; fwd=uri-miss; collapsed",
            ),
            (
                CacheStatus::Forced,
                "pai-image-gateway; fwd=request; stored",
            ),
            (
                CacheStatus::Negative,
                "pai-image-gateway; hit; detail=not-found",
            ),
            (CacheStatus::Bypass, "pai-image-gateway; fwd=bypass"),
        ] {
            assert_eq!(status.to_header(), expected);
        }
    }
}
