//! What goes back to a client: the only place that picks statuses, codes and headers.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, ALLOW, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::api::{ErrorBody, Malformed, Misrouted, OriginError};
use crate::cache::{Entry, Negative};
use crate::outcome::Outcome;
use crate::upstream::{Reply, UpstreamError};

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

/// Why a request gets no answer about what it asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No operation of this API, or a malformed one.
    #[error("the request cannot be understood")]
    Misrouted(Misrouted),
    /// A GET with a body.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A body beyond the limit.
    #[error("the body is longer than {0} bytes")]
    BodyTooLong(u64),
    /// The body did not come in time.
    #[error("the body did not come in time")]
    BodyTooSlow,
    /// `api.writes` is off.
    #[error("this gateway passes no writes on; its operator can set api.writes = true")]
    WritesOff,
    /// Too many requests wait already.
    #[error("too many requests are waiting")]
    Overloaded,
    /// `only-if-cached`, and nothing is.
    #[error("the image is not in the cache")]
    NotCached,
    /// The origin's own complaint about what was asked.
    #[error("{}", .0.message)]
    Origin(OriginError),
    /// The origin could not be asked.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A fault of this program.
    #[error("the gateway failed")]
    Internal,
}

/// Answers with an image from memory.
#[must_use]
pub fn image(entry: &Entry, age: Duration, outcome: Outcome, status: CacheStatus) -> Answer {
    let mut response = json(StatusCode::OK, entry.body.clone());
    let headers = response.headers_mut();
    headers.insert(AGE, HeaderValue::from(age.as_secs()));
    headers.insert(CACHE_STATUS, status.to_header());
    if let Some(id) = &entry.request_id {
        headers.insert(X_ACS_REQUEST_ID, id.clone());
    }
    Answer { response, outcome }
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

/// Answers with an error in the API's shape. `request_id` is the gateway's own.
#[must_use]
pub fn failure(error: &Error, request_id: &str, host: &str) -> Answer {
    if let Error::Origin(error) | Error::Upstream(UpstreamError::Refused(error)) = error {
        return Answer {
            response: origin_error(error, host),
            outcome: Outcome::Passthrough,
        };
    }
    let Shape {
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
    response.headers_mut().reserve(8);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// An error's place in the API's error shape.
struct Shape {
    status: StatusCode,
    code: &'static str,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

/// What a throttled client is told to wait when the origin did not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

impl Error {
    /// The word.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Misrouted(_)
            | Self::Malformed(_)
            | Self::BodyTooLong(_)
            | Self::BodyTooSlow
            | Self::Overloaded => Outcome::Rejected,
            Self::WritesOff => Outcome::Denied,
            Self::Origin(_) | Self::Upstream(UpstreamError::Refused(_)) => Outcome::Passthrough,
            Self::NotCached | Self::Upstream(_) | Self::Internal => Outcome::Error,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Misrouted(Misrouted::UnknownRoute) => {
                "Specified api is not found, please check your url and method.".to_owned()
            }
            Self::Misrouted(Misrouted::Method(_)) => {
                "This http method is not supported.".to_owned()
            }
            Self::Misrouted(Misrouted::Malformed(_, malformed)) => malformed.to_string(),
            Self::Upstream(UpstreamError::Throttled(_)) => {
                "Request was denied due to flow control.".to_owned()
            }
            // The code would name our key's trouble to those who cannot mend it.
            Self::Upstream(UpstreamError::Credential(_)) => {
                "the gateway's credential is refused by the origin".to_owned()
            }
            _ => self.to_string(),
        }
    }

    fn shape(&self) -> Shape {
        let plain = |status, code| Shape {
            status,
            code,
            retry_after: None,
            allow: None,
        };
        let throttled = |wait: Option<Duration>| Shape {
            retry_after: Some(wait.unwrap_or(DEFAULT_WAIT)),
            ..plain(StatusCode::TOO_MANY_REQUESTS, "Throttling")
        };
        match self {
            Self::Misrouted(Misrouted::UnknownRoute) => {
                plain(StatusCode::NOT_FOUND, "InvalidApi.NotFound")
            }
            Self::Misrouted(Misrouted::Method(methods)) => Shape {
                allow: Some(methods),
                ..plain(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHTTPMethod")
            },
            Self::Misrouted(Misrouted::Malformed(..)) | Self::Malformed(_) => {
                plain(StatusCode::BAD_REQUEST, "InvalidParameter")
            }
            Self::BodyTooLong(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, "InvalidParameter"),
            Self::BodyTooSlow => plain(StatusCode::REQUEST_TIMEOUT, "InvalidParameter"),
            Self::WritesOff => plain(StatusCode::FORBIDDEN, "Gateway.Forbidden"),
            Self::Overloaded => throttled(None),
            Self::NotCached => plain(StatusCode::GATEWAY_TIMEOUT, "Gateway.NotCached"),
            Self::Upstream(error) => match error {
                UpstreamError::Timeout => {
                    plain(StatusCode::GATEWAY_TIMEOUT, "Gateway.UpstreamTimeout")
                }
                UpstreamError::Throttled(wait) => throttled(*wait),
                UpstreamError::Transport(_)
                | UpstreamError::Server(_)
                | UpstreamError::NoCredential => plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Gateway.UpstreamUnavailable",
                ),
                UpstreamError::Unreadable => {
                    plain(StatusCode::BAD_GATEWAY, "Gateway.InvalidUpstreamResponse")
                }
                UpstreamError::Credential(_) => {
                    plain(StatusCode::BAD_GATEWAY, "Gateway.CredentialRejected")
                }
                UpstreamError::Refused(_) => plain(StatusCode::BAD_GATEWAY, "Gateway.Internal"),
            },
            Self::Origin(_) | Self::Internal => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, "Gateway.Internal")
            }
        }
    }
}

impl CacheStatus {
    /// The header's value; it never tells the key.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        let with_ttl = |ttl: i64, rest: &str| {
            let mut text = String::with_capacity(64);
            // Writing to a String cannot fail.
            let _ = write!(text, "pai-image-gateway; hit; ttl={ttl}{rest}");
            HeaderValue::from_maybe_shared(Bytes::from(text))
                .unwrap_or(HeaderValue::from_static("pai-image-gateway; hit"))
        };
        match self {
            Self::Hit(ttl) => with_ttl(ttl, ""),
            Self::Revalidating(ttl) => with_ttl(ttl, "; detail=revalidating"),
            Self::OriginError(ttl) => with_ttl(ttl, "; detail=origin-error"),
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

    #[test]
    fn each_cause_has_its_status_and_code() {
        let throttled = UpstreamError::Throttled(Some(Duration::from_millis(250)));
        let secret = UpstreamError::Credential("SignatureDoesNotMatch".to_owned());
        for (error, status, code) in [
            (
                Error::Misrouted(Misrouted::UnknownRoute),
                404,
                "InvalidApi.NotFound",
            ),
            (
                Error::Misrouted(Misrouted::Method("GET")),
                405,
                "UnsupportedHTTPMethod",
            ),
            (Error::BodyTooLong(9), 413, "InvalidParameter"),
            (Error::WritesOff, 403, "Gateway.Forbidden"),
            (Error::Overloaded, 429, "Throttling"),
            (Error::NotCached, 504, "Gateway.NotCached"),
            (Error::Internal, 500, "Gateway.Internal"),
            (throttled.into(), 429, "Throttling"),
            (
                UpstreamError::Timeout.into(),
                504,
                "Gateway.UpstreamTimeout",
            ),
            (
                UpstreamError::NoCredential.into(),
                503,
                "Gateway.UpstreamUnavailable",
            ),
            (
                UpstreamError::Unreadable.into(),
                502,
                "Gateway.InvalidUpstreamResponse",
            ),
            (secret.into(), 502, "Gateway.CredentialRejected"),
        ] {
            let Answer { response, .. } = failure(&error, "ID", "host:1");
            assert_eq!(response.status(), status, "{error:?}");
            let throttles = response.headers().contains_key(X_ACS_RETRY_AFTER);
            assert_eq!(throttles, code == "Throttling", "{error:?}");
            assert_eq!(error.shape().code, code);
            assert!(!error.message().contains("SignatureDoesNotMatch"));
        }
    }
}
