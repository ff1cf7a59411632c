//! Errors of a request, from routing to the origin. `wire` turns each into status, code and headers.

use std::time::Duration;

use compact_str::CompactString;

use crate::api::{Malformed, OriginError, RouteError};
use crate::auth::AuthError;
use crate::observability::outcome::Outcome;
use crate::upstream::UpstreamError;
use crate::upstream::via::ForwardingLoop;

/// Error that a client gets instead of what it asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Path, method or parameters are no operation's.
    #[error("the request cannot be understood")]
    RouteError(RouteError),
    /// Framing or body of the request breaks a rule: a GET with a body, a search with an unknown parameter.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The body is longer than the limit, in bytes.
    #[error("the body is longer than {0} bytes")]
    BodyTooLong(u64),
    /// The body did not arrive within its time limit.
    #[error("the body did not come in time")]
    BodyTooSlow,
    /// The request could not be authenticated.
    #[error("{0}")]
    AuthFailed(#[from] AuthError),
    /// The client lacks the permission; the text says which, and what would be permitted.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The client is over one of its own limits; the time until the limit admits the next request.
    #[error("the client is over its limit")]
    RateLimited(Duration),
    /// The image is missing, or hidden from this client. A client cannot tell which; the outcome, for the operator, does.
    #[error("the image does not exist")]
    ImageNotFound {
        /// `denied` for a hidden image, else the outcome of the lookup.
        outcome: Outcome,
        /// Code of a missing image, from `upstream.not_found_code`.
        code: CompactString,
    },
    /// The request is a write, and `api.writes` is off.
    #[error("this gateway passes no writes on; its operator can set api.writes = true")]
    WritesDisabled,
    /// `listen.max_in_flight` requests or `listen.max_buffered` bytes of responses are waiting.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The client sent `only-if-cached`, and the image is not cached.
    #[error("the image is not in the cache")]
    NotCached,
    /// The request has passed through this gateway before, or through too many gateways.
    #[error("{0}: look at upstream.endpoint of the gateways between here and the origin")]
    Loop(#[from] ForwardingLoop),
    /// The origin's own error about the client's request, passed on.
    #[error("{}", .0.message)]
    Origin(OriginError),
    /// The call to the origin failed or was not made.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The gateway has a defect; the log has the details.
    #[error("the gateway failed")]
    Internal,
}

impl Error {
    /// Returns the outcome that is counted and logged.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.wire().outcome
    }
}
