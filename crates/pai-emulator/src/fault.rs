//! Fault rules: failures that the emulator injects on purpose.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::api_error::{ApiError, message_for};
use super::fault_spec::FaultSpec;
use pai_api::Action;

/// Fault rule: the requests that it matches, how often it applies, and the failure.
///
/// ```toml
/// [[fault]]
/// operation = "GetImage"   # absent: any
/// image = "image-…"        # absent: any, also none
/// after = 0                # how many matches to let pass first
/// times = 3                # how often; absent: for ever
/// kind = "latency"
/// ms = 200
/// ```
/// A request that failed authentication matches no rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FaultSpec", into = "FaultSpec")]
pub struct Fault {
    /// Operation to match; `None` matches any.
    pub operation: Option<Action>,
    /// Image to match; `None` matches any, and requests without one.
    pub image: Option<String>,
    /// Number of matches that pass unchanged first.
    pub after: u64,
    /// Number of times that it then applies; `None` is without end.
    pub times: Option<u64>,
    /// Failure to inject.
    pub kind: FaultKind,
}

/// Kind of failure. Kinds that do not reject the operation change its response after it was performed.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum FaultKind {
    /// `latency { ms }`: the response is delayed by this much more.
    Latency(Duration),
    /// `status { status, code?, message?, headers?, access_denied_detail? }`: rejected with this error.
    Status {
        /// HTTP status of the error.
        status: StatusCode,
        /// Code of the error; absent, the response has none.
        code: Option<String>,
        /// Message of the error; absent, the API's message for this Code. With `SignatureDoesNotMatch` that
        /// quotes the signed request.
        message: Option<String>,
        /// Additional headers.
        headers: HeaderMap,
        /// True if the response has an `AccessDeniedDetail`, which names the account.
        access_denied_detail: bool,
    },
    /// `throttle { status?, code?, retry_after_ms? }`: rejected as throttled.
    Throttle {
        /// HTTP status; 400 by default.
        status: StatusCode,
        /// Code of the error; `Throttling.User` by default.
        code: String,
        /// Value of `x-acs-retry-after`; absent, the response has no such header.
        retry_after: Option<Duration>,
    },
    /// `headers { headers }`: the response has these headers in place of its own; an empty value removes one.
    Headers(HeaderMap),
    /// `close_before`: the connection closes without a byte.
    CloseBefore,
    /// `close_mid_body`: the connection closes after half of the body.
    CloseMidBody,
    /// `garbage`: 200 with bytes that are neither JSON nor text.
    Garbage,
    /// `stall { ms? }`: nothing is sent for this time (60 s by default), then the connection closes.
    Stall(Duration),
    /// `gzip`: the body is compressed although the client did not ask for it.
    Gzip,
    /// `truncated`: half of the JSON, with a `Content-Length` that agrees.
    Truncated,
    /// `empty`: 200 without a body.
    Empty,
    /// `not_object`: 200 with the JSON `[]`.
    NotObject,
    /// `wrong_type`: 200 with a JSON object whose fields have other types than the API's.
    WrongType,
}

impl Fault {
    /// Returns a rule that applies to every request, without end.
    #[must_use]
    pub const fn always(kind: FaultKind) -> Self {
        Self {
            operation: None,
            image: None,
            after: 0,
            times: None,
            kind,
        }
    }

    pub(super) fn matches(&self, action: Action, image: Option<&str>) -> bool {
        self.operation.is_none_or(|only| only == action)
            && (self.image.is_none() || self.image.as_deref() == image)
    }
}

impl FaultKind {
    /// Default duration of a stall.
    pub const STALL: Duration = Duration::from_secs(60);

    /// Returns the kind's name in a script.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Status { .. } => "status",
            Self::Throttle { .. } => "throttle",
            Self::Headers(_) => "headers",
            Self::CloseBefore => "close_before",
            Self::CloseMidBody => "close_mid_body",
            Self::Garbage => "garbage",
            Self::Stall(_) => "stall",
            Self::Gzip => "gzip",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::NotObject => "not_object",
            Self::WrongType => "wrong_type",
        }
    }

    /// Returns the error of the kinds that reject the operation.
    pub(super) fn error(&self) -> Option<ApiError> {
        match self {
            Self::Status {
                status,
                code,
                message,
                headers,
                access_denied_detail,
            } => {
                let code = code.as_deref().unwrap_or("");
                let headers = headers.iter();
                let message = message.as_deref().unwrap_or_else(|| message_for(code));
                Some(ApiError {
                    headers: headers
                        .map(|(name, value)| (name.clone(), value.clone()))
                        .collect(),
                    has_access_denied_detail: *access_denied_detail,
                    ..ApiError::new(*status, code, message)
                })
            }
            Self::Throttle {
                status,
                code,
                retry_after,
            } => Some(ApiError::throttled(*status, code, *retry_after)),
            Self::Latency(_)
            | Self::Headers(_)
            | Self::CloseBefore
            | Self::CloseMidBody
            | Self::Garbage
            | Self::Stall(_)
            | Self::Gzip
            | Self::Truncated
            | Self::Empty
            | Self::NotObject
            | Self::WrongType => None,
        }
    }
}
