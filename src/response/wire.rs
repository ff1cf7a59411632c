//! The form of each error on the wire: one row an error.
//!
//! The vendor's codes and messages stand where its SDKs and their users expect them; `Gateway.` starts the codes that
//! only this gateway has. docs/errors.md shows the rows, and a test compares the two.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::Error;
use crate::api::{OriginError, RouteError};
use crate::auth::AuthError;
use crate::observability::outcome::Outcome;
use crate::upstream::{ParentFault, UpstreamError};

/// An error as a client gets it and as it is counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wire<'a> {
    /// Outcome in metrics, log and audit.
    pub(super) outcome: Outcome,
    /// HTTP status.
    pub(super) status: StatusCode,
    /// `Code`, from which SDKs make a typed exception.
    pub(super) code: &'a str,
    /// `Message`. It never reveals the gateway's own credential.
    pub(super) message: Cow<'a, str>,
    /// Shortest time after which a retry makes sense; the client gets [`bounded_wait`] of it.
    pub(super) retry_after: Option<Duration>,
    /// Value of `Allow`, for a method that the route lacks.
    pub(super) allow: Option<&'static str>,
}

/// Message about an image that a client does not get, the same whether it is missing or hidden from this client.
pub(super) const IMAGE_NOT_FOUND: &str = "The specified image does not exist.";

/// Wait in a 429 for which neither the origin nor a limit of the client gives a time.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// Longest wait that a client is asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

const THROTTLING: &str = "Throttling";
const UNAVAILABLE: &str = "Gateway.UpstreamUnavailable";
const INVALID_RESPONSE: &str = "Gateway.InvalidUpstreamResponse";
const CREDENTIAL_REJECTED: &str = "Gateway.CredentialRejected";
const LOOP_DETECTED: &str = "Gateway.LoopDetected";

impl Error {
    /// Returns the error's form on the wire. An error of the origin about the client's own request keeps the
    /// origin's status, code and message.
    pub(super) fn wire(&self) -> Wire<'_> {
        use Outcome::{Denied, Error as Failed, Rejected};
        use StatusCode as Status;
        let text = || self.to_string();
        match self {
            Self::RouteError(error) => Wire::of_route(error),
            Self::Malformed(_) => row(Rejected, Status::BAD_REQUEST, "InvalidParameter", text()),
            Self::BodyTooLong(_) => row(
                Rejected,
                Status::PAYLOAD_TOO_LARGE,
                "InvalidParameter",
                text(),
            ),
            Self::BodyTooSlow => row(
                Rejected,
                Status::REQUEST_TIMEOUT,
                "InvalidParameter",
                text(),
            ),
            Self::AuthFailed(error) => Wire::of_auth(*error),
            Self::Forbidden(why) => row(Denied, Status::FORBIDDEN, "Gateway.Forbidden", *why),
            Self::WritesDisabled => row(Denied, Status::FORBIDDEN, "Gateway.Forbidden", text()),
            Self::RateLimited(wait) => throttled(
                Rejected,
                Some(*wait),
                "Request was denied due to user flow control.",
            ),
            Self::Overloaded => throttled(Rejected, None, text()),
            Self::ImageNotFound { outcome, code } => {
                row(*outcome, Status::NOT_FOUND, code, IMAGE_NOT_FOUND)
            }
            Self::NotCached => row(Failed, Status::GATEWAY_TIMEOUT, "Gateway.NotCached", text()),
            Self::Loop(_) => row(Failed, Status::LOOP_DETECTED, LOOP_DETECTED, text()),
            Self::Origin(error) => Wire::of_origin(error, Outcome::Passthrough),
            Self::Upstream(error) => Wire::of_upstream(error),
            Self::Internal => row(
                Failed,
                Status::INTERNAL_SERVER_ERROR,
                "Gateway.Internal",
                text(),
            ),
        }
    }
}

impl<'a> Wire<'a> {
    /// Passes an error of the origin on; 502 where its status is none.
    pub(super) fn of_origin(error: &'a OriginError, outcome: Outcome) -> Self {
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
        row(outcome, status, &error.code, &*error.message)
    }

    fn of_route(error: &RouteError) -> Self {
        use StatusCode as Status;
        let rejected = Outcome::Rejected;
        match error {
            RouteError::UnknownRoute => row(
                rejected,
                Status::NOT_FOUND,
                "InvalidApi.NotFound",
                "Specified api is not found, please check your url and method.",
            ),
            RouteError::Method(methods) => Wire {
                allow: Some(methods),
                ..row(
                    rejected,
                    Status::METHOD_NOT_ALLOWED,
                    "UnsupportedHTTPMethod",
                    "This http method is not supported.",
                )
            },
            RouteError::Malformed(_, malformed) => row(
                rejected,
                Status::BAD_REQUEST,
                "InvalidParameter",
                malformed.to_string(),
            ),
        }
    }

    /// Uses the codes of the vendor's own authentication, so that clients handle them as the origin's. A message about
    /// a signature has a colon, because aliyun-python-sdk-core takes `Message.split(':')[1]` of it.
    fn of_auth(error: AuthError) -> Self {
        use StatusCode as Status;
        let signature = |message| bad("SignatureDoesNotMatch", message);
        match error {
            AuthError::NoCredential => row(
                Outcome::Rejected,
                Status::UNAUTHORIZED,
                "MissingAccessKeyId",
                "AccessKeyId is mandatory for this action.",
            ),
            AuthError::Unreadable(_)
            | AuthError::Unsigned(_)
            | AuthError::Ambiguous
            | AuthError::Body => signature(error.to_string()),
            AuthError::Mismatch => signature(
                "Specified signature is not matched with our calculation: check the AccessKeySecret, and that nothing \
                 on the way changes the request."
                    .to_owned(),
            ),
            AuthError::UnknownKey | AuthError::Token(_) | AuthError::CloudKey => row(
                Outcome::Rejected,
                Status::NOT_FOUND,
                "InvalidAccessKeyId.NotFound",
                "Specified access key is not found.",
            ),
            AuthError::Expired => bad(
                "InvalidTimeStamp.Expired",
                "Specified time stamp or date value is expired.",
            ),
            AuthError::BadDate => bad(
                "InvalidTimeStamp.Format",
                "Specified time stamp or date value is not well formatted.",
            ),
            AuthError::Version => {
                bad("InvalidVersion", "Specified parameter Version is not valid.")
            }
            AuthError::Action => bad("InvalidParameter", error.to_string()),
            AuthError::NonceUsed => {
                bad("SignatureNonceUsed", "Specified signature nonce was used already.")
            }
            AuthError::NoncesFull => throttled(Outcome::Rejected, None, error.to_string()),
            AuthError::NotRecorded => unavailable(error.to_string()),
            AuthError::NoToken => {
                bad("MissingSecurityToken", "SecurityToken is mandatory for this action.")
            }
            AuthError::WrongToken => {
                bad("InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
            }
            AuthError::Exposed(why) => {
                row(Outcome::Rejected, Status::FORBIDDEN, "Gateway.Forbidden", why)
            }
        }
    }

    fn of_upstream(error: &'a UpstreamError) -> Self {
        let text = || error.to_string();
        let failed = |status, code| row(Outcome::Error, status, code, error.to_string());
        match error {
            UpstreamError::Timeout | UpstreamError::Parent(ParentFault::Timeout, _) => {
                failed(StatusCode::GATEWAY_TIMEOUT, "Gateway.UpstreamTimeout")
            }
            UpstreamError::Throttled(throttle) => {
                let message = "Request was denied due to flow control.";
                let ours = throttled(Outcome::Error, throttle.wait, message);
                match &*throttle.error.code {
                    "" => ours,
                    // Retry policies by Code must go on working.
                    code => Wire { code, ..ours },
                }
            }
            UpstreamError::Overloaded(wait) => throttled(Outcome::Error, Some(*wait), text()),
            UpstreamError::Transport(transport) if transport.is_unreadable() => {
                failed(StatusCode::BAD_GATEWAY, INVALID_RESPONSE)
            }
            UpstreamError::CircuitOpen
            | UpstreamError::Transport(_)
            | UpstreamError::Server(_)
            | UpstreamError::Foreign(_)
            | UpstreamError::NoCredential
            | UpstreamError::Parent(
                ParentFault::Unavailable | ParentFault::Overloaded | ParentFault::NotCached,
                _,
            ) => unavailable(text()),
            UpstreamError::Unreadable(_) | UpstreamError::Parent(ParentFault::Unreadable, _) => {
                failed(StatusCode::BAD_GATEWAY, INVALID_RESPONSE)
            }
            // The origin's code describes the gateway's key, which clients can neither see nor repair.
            UpstreamError::Credential(_) | UpstreamError::Permission(_) => row(
                Outcome::Error,
                StatusCode::BAD_GATEWAY,
                CREDENTIAL_REJECTED,
                "the gateway's credential is refused by the origin",
            ),
            UpstreamError::Parent(ParentFault::Credential, _) => {
                failed(StatusCode::BAD_GATEWAY, CREDENTIAL_REJECTED)
            }
            UpstreamError::Parent(ParentFault::Loop, _) => {
                failed(StatusCode::LOOP_DETECTED, LOOP_DETECTED)
            }
            UpstreamError::Refused(error) | UpstreamError::Account(error) => {
                Self::of_origin(error, Outcome::Passthrough)
            }
        }
    }
}

fn row<'a>(
    outcome: Outcome,
    status: StatusCode,
    code: &'a str,
    message: impl Into<Cow<'a, str>>,
) -> Wire<'a> {
    Wire {
        outcome,
        status,
        code,
        message: message.into(),
        retry_after: None,
        allow: None,
    }
}

fn bad<'a>(code: &'a str, message: impl Into<Cow<'a, str>>) -> Wire<'a> {
    row(Outcome::Rejected, StatusCode::BAD_REQUEST, code, message)
}

fn unavailable<'a>(message: String) -> Wire<'a> {
    row(
        Outcome::Error,
        StatusCode::SERVICE_UNAVAILABLE,
        UNAVAILABLE,
        message,
    )
}

fn throttled<'a>(
    outcome: Outcome,
    wait: Option<Duration>,
    message: impl Into<Cow<'a, str>>,
) -> Wire<'a> {
    Wire {
        retry_after: Some(wait.unwrap_or(DEFAULT_WAIT)),
        ..row(outcome, StatusCode::TOO_MANY_REQUESTS, THROTTLING, message)
    }
}

/// Returns the wait to ask a client for: at most a minute. A longer one becomes 30 to 60 s, by a `draw` from 0 to 1, so
/// that clients do not all come back at once.
pub(super) fn bounded_wait(wait: Duration, draw: f64) -> Duration {
    if wait <= LONGEST_WAIT {
        wait
    } else {
        LONGEST_WAIT.mul_f64(f64::midpoint(1.0, draw))
    }
}

#[cfg(test)]
mod tests;
