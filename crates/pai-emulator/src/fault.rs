//! What goes wrong on purpose: rules as data.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::api_error::{ApiError, message_for};
use super::fault_spec::FaultSpec;
use pai_api::Action;

/// One rule: which requests something goes wrong with, how often, and what.
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
/// A request that was refused for its signature matches nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FaultSpec", into = "FaultSpec")]
pub struct Fault {
    /// Only this operation.
    pub operation: Option<Action>,
    /// Only this image.
    pub image: Option<String>,
    /// How many matches pass unharmed first.
    pub after: u64,
    /// How many times it then applies; `None` is for ever.
    pub times: Option<u64>,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What goes wrong. Where the operation is not refused it is performed, whatever becomes of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// `latency { ms }`: the answer is held back this much longer.
    Latency(Duration),
    /// `status { status, code?, message?, headers?, access_denied_detail? }`: refused with this error.
    Status {
        /// The status.
        status: StatusCode,
        /// The Code; absent, the answer has none.
        code: Option<String>,
        /// The Message; absent, what the API says with this Code. With `SignatureDoesNotMatch` that
        /// quotes all the caller signed.
        message: Option<String>,
        /// More headers.
        headers: HeaderMap,
        /// Whether the answer has an `AccessDeniedDetail`, which names the account.
        access_denied_detail: bool,
    },
    /// `throttle { status?, code?, retry_after_ms? }`: refused with a throttle.
    Throttle {
        /// 400 unless it is named.
        status: StatusCode,
        /// `Throttling.User` unless it is named.
        code: String,
        /// `x-acs-retry-after`; absent, there is none.
        retry_after: Option<Duration>,
    },
    /// `close_before`: the connection closes without a byte.
    CloseBefore,
    /// `close_mid_body`: the connection closes after half of the body.
    CloseMidBody,
    /// `garbage`: 200 with bytes that are neither JSON nor text.
    Garbage,
    /// `stall { ms? }`: nothing comes for so long (60 s unless named), then the connection closes.
    Stall(Duration),
    /// `gzip`: the body is compressed although nobody asked.
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
    /// A rule for every request, for ever.
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
    /// How long a stall lasts unless a rule says otherwise.
    pub const STALL: Duration = Duration::from_secs(60);

    /// The kind's name in a script.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Status { .. } => "status",
            Self::Throttle { .. } => "throttle",
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

    /// What the operation is refused with, for the kinds that refuse it.
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
