//! Why a request gets no answer about what it asked, and how the API's error shape says so.

use std::borrow::Cow;
use std::time::Duration;

use compact_str::CompactString;
use http::StatusCode;

use crate::api::{Malformed, OriginError, RouteError};
use crate::auth::AuthError;
use crate::observability::outcome::Outcome;
use crate::upstream::via::ForwardingLoop;
use crate::upstream::{ParentFault, UpstreamError};

/// Why a request gets no answer about what it asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No operation of this API, or a malformed one.
    #[error("the request cannot be understood")]
    RouteError(RouteError),
    /// A GET or HEAD with a body.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A body beyond the limit.
    #[error("the body is longer than {0} bytes")]
    BodyTooLong(u64),
    /// The body did not come in time.
    #[error("the body did not come in time")]
    BodyTooSlow,
    /// Its sender was not let in.
    #[error("{0}")]
    AuthFailed(#[from] AuthError),
    /// Its sender may not ask this; why.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Its sender has used up its budget; how long until there is more.
    #[error("Request was denied due to user flow control.")]
    RateLimited(Duration),
    /// There is no such image, or none that its sender may see. Nobody is told which: the outcome is
    /// for the operator, the code is `upstream.not_found_code`.
    #[error("the image does not exist")]
    ImageNotFound {
        /// How it was found out.
        outcome: Outcome,
        /// What an image that is not there is called.
        code: CompactString,
    },
    /// `api.writes` is off.
    #[error("this gateway passes no writes on; its operator can set api.writes = true")]
    WritesDisabled,
    /// Too many requests wait already.
    #[error("too many requests are waiting")]
    Overloaded,
    /// `only-if-cached`, and nothing is.
    #[error("the image is not in the cache")]
    NotCached,
    /// It has gone in a circle, or would if it went on.
    #[error("{0}: look at upstream.endpoint of the gateways between here and the origin")]
    Loop(#[from] ForwardingLoop),
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

/// An error's place in the API's error shape.
pub(super) struct Shape {
    pub(super) status: StatusCode,
    pub(super) code: Cow<'static, str>,
    pub(super) retry_after: Option<Duration>,
    pub(super) allow: Option<&'static str>,
}

/// What a throttled client is told to wait when the origin did not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// Longest time that a client is asked to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Error {
    /// The word.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::AuthFailed(AuthError::NotRecorded) => Outcome::Error,
            Self::RouteError(_)
            | Self::Malformed(_)
            | Self::BodyTooLong(_)
            | Self::BodyTooSlow
            | Self::AuthFailed(_)
            | Self::RateLimited(_)
            | Self::Overloaded => Outcome::Rejected,
            Self::WritesDisabled | Self::Forbidden(_) => Outcome::Denied,
            Self::ImageNotFound { outcome, .. } => *outcome,
            Self::Origin(_) | Self::Upstream(UpstreamError::Refused(_)) => Outcome::Passthrough,
            Self::NotCached | Self::Loop(_) | Self::Upstream(_) | Self::Internal => Outcome::Error,
        }
    }

    /// For a person; it tells nothing of the gateway's credential.
    pub(super) fn message(&self) -> String {
        match self {
            Self::RouteError(RouteError::UnknownRoute) => {
                "Specified api is not found, please check your url and method.".to_owned()
            }
            Self::RouteError(RouteError::Method(_)) => {
                "This http method is not supported.".to_owned()
            }
            Self::RouteError(RouteError::Malformed(_, malformed)) => malformed.to_string(),
            Self::Upstream(UpstreamError::Throttled(_)) => {
                "Request was denied due to flow control.".to_owned()
            }
            // The code would name our key's trouble to those who cannot mend it.
            Self::Upstream(UpstreamError::Credential(_) | UpstreamError::Permission(_)) => {
                "the gateway's credential is refused by the origin".to_owned()
            }
            _ => self.to_string(),
        }
    }

    /// Its status, code and headers.
    pub(super) fn shape(&self) -> Shape {
        let plain = |status, code| Shape {
            status,
            code: Cow::Borrowed(code),
            retry_after: None,
            allow: None,
        };
        let throttled = |wait: Option<Duration>| Shape {
            retry_after: Some(wait.unwrap_or(DEFAULT_WAIT)),
            ..plain(StatusCode::TOO_MANY_REQUESTS, "Throttling")
        };
        let forwarding_loop = plain(StatusCode::LOOP_DETECTED, "Gateway.LoopDetected");
        match self {
            Self::RouteError(RouteError::UnknownRoute) => {
                plain(StatusCode::NOT_FOUND, "InvalidApi.NotFound")
            }
            Self::RouteError(RouteError::Method(methods)) => Shape {
                allow: Some(methods),
                ..plain(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHTTPMethod")
            },
            Self::RouteError(RouteError::Malformed(..)) | Self::Malformed(_) => {
                plain(StatusCode::BAD_REQUEST, "InvalidParameter")
            }
            Self::BodyTooLong(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, "InvalidParameter"),
            Self::BodyTooSlow => plain(StatusCode::REQUEST_TIMEOUT, "InvalidParameter"),
            Self::WritesDisabled | Self::Forbidden(_) => {
                plain(StatusCode::FORBIDDEN, "Gateway.Forbidden")
            }
            Self::RateLimited(wait) => throttled(Some(*wait)),
            Self::Overloaded | Self::AuthFailed(AuthError::NoncesFull) => throttled(None),
            Self::AuthFailed(refused) => {
                let (status, code) = sign_in(*refused);
                plain(status, code)
            }
            Self::NotCached => plain(StatusCode::GATEWAY_TIMEOUT, "Gateway.NotCached"),
            Self::Loop(_) => forwarding_loop,
            Self::Upstream(error) => match error {
                UpstreamError::Timeout | UpstreamError::Parent(ParentFault::Timeout, _) => {
                    plain(StatusCode::GATEWAY_TIMEOUT, "Gateway.UpstreamTimeout")
                }
                UpstreamError::Throttled(throttle) => {
                    let ours = throttled(throttle.wait);
                    if throttle.error.code.is_empty() {
                        return ours;
                    }
                    // The origin's own Code: retry policies by Code go on working.
                    let code = Cow::Owned(throttle.error.code.clone());
                    Shape { code, ..ours }
                }
                UpstreamError::Overloaded => throttled(None),
                UpstreamError::Transport(error) if error.is_unreadable() => {
                    plain(StatusCode::BAD_GATEWAY, "Gateway.InvalidUpstreamResponse")
                }
                UpstreamError::CircuitOpen
                | UpstreamError::Transport(_)
                | UpstreamError::Server(_)
                | UpstreamError::Foreign(_)
                | UpstreamError::Parent(
                    ParentFault::Unavailable | ParentFault::Overloaded | ParentFault::NotCached,
                    _,
                )
                | UpstreamError::NoCredential => plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Gateway.UpstreamUnavailable",
                ),
                UpstreamError::Unreadable(_)
                | UpstreamError::Parent(ParentFault::Unreadable, _) => {
                    plain(StatusCode::BAD_GATEWAY, "Gateway.InvalidUpstreamResponse")
                }
                UpstreamError::Credential(_)
                | UpstreamError::Permission(_)
                | UpstreamError::Parent(ParentFault::Credential, _) => {
                    plain(StatusCode::BAD_GATEWAY, "Gateway.CredentialRejected")
                }
                UpstreamError::Parent(ParentFault::Loop, _) => forwarding_loop,
                UpstreamError::Refused(_) => plain(StatusCode::BAD_GATEWAY, "Gateway.Internal"),
            },
            // The template of its own says the rest.
            Self::ImageNotFound { .. } => plain(StatusCode::NOT_FOUND, "ImageNotFound"),
            Self::Origin(_) | Self::Internal => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, "Gateway.Internal")
            }
        }
    }
}

/// Time that a throttled client is asked to wait: at most a minute. A longer one becomes any time from half a minute
/// to a whole one, by a `draw` from 0 to 1, so that not all come back at once.
pub(super) fn bounded(wait: Duration, draw: f64) -> Duration {
    if wait <= LONGEST_WAIT {
        wait
    } else {
        LONGEST_WAIT.mul_f64(f64::midpoint(1.0, draw))
    }
}

/// The vendor's own status and code for a credential that is not taken.
const fn sign_in(refused: AuthError) -> (StatusCode, &'static str) {
    let bad = StatusCode::BAD_REQUEST;
    match refused {
        AuthError::NoCredential => (StatusCode::UNAUTHORIZED, "MissingAccessKeyId"),
        AuthError::Unreadable(_)
        | AuthError::Unsigned(_)
        | AuthError::Mismatch
        | AuthError::Ambiguous
        | AuthError::Body => (bad, "SignatureDoesNotMatch"),
        AuthError::UnknownKey | AuthError::CloudKey => {
            (StatusCode::NOT_FOUND, "InvalidAccessKeyId.NotFound")
        }
        AuthError::Expired => (bad, "InvalidTimeStamp.Expired"),
        AuthError::BadDate => (bad, "InvalidTimeStamp.Format"),
        AuthError::Version => (bad, "InvalidVersion"),
        AuthError::Action => (bad, "InvalidParameter"),
        AuthError::NonceUsed => (bad, "SignatureNonceUsed"),
        AuthError::NoncesFull => (StatusCode::TOO_MANY_REQUESTS, "Throttling"),
        AuthError::NotRecorded => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Gateway.UpstreamUnavailable",
        ),
        AuthError::NoToken => (bad, "MissingSecurityToken"),
        AuthError::WrongToken => (bad, "InvalidSecurityToken.Malformed"),
        AuthError::Exposed(_) => (StatusCode::FORBIDDEN, "Gateway.Forbidden"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::*;
    use crate::api::Action;
    use crate::response::failure;
    use crate::transport::TransportError;
    use crate::upstream::Throttle;

    fn coded(code: &str) -> OriginError {
        OriginError {
            code: code.to_owned(),
            ..OriginError::default()
        }
    }

    #[test]
    fn nobody_is_asked_to_wait_for_more_than_a_minute() {
        let secs = Duration::from_secs;
        assert_eq!(bounded(secs(60), 0.5), secs(60));
        assert_eq!(
            bounded(Duration::from_millis(1), 0.5),
            Duration::from_millis(1)
        );
        for (draw, expected) in [(0.0, 30), (0.5, 45), (1.0, 60)] {
            assert_eq!(bounded(secs(9999), draw), secs(expected));
        }
    }

    #[tokio::test]
    async fn an_error_of_the_origin_without_an_id_goes_out_with_ours() {
        let error = |id: &str| OriginError {
            status: 404,
            code: "C".to_owned(),
            message: "m".to_owned(),
            request_id: id.to_owned(),
        };
        for (theirs, told) in [("", "OURS"), ("THEIRS", "THEIRS")] {
            for error in [
                Error::Origin(error(theirs)),
                UpstreamError::Refused(error(theirs)).into(),
            ] {
                let answer = failure(&error, "OURS", "host");
                let body = answer.body.collect().await.unwrap().to_bytes();
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["RequestId"], told);
                assert_eq!(answer.origin_request_id.is_some(), !theirs.is_empty());
            }
        }
    }

    /// aliyun-python-sdk-core takes `Message.split(':')[1]` of such an error, and fails without one.
    #[test]
    fn a_message_about_a_signature_has_a_colon() {
        for refused in [
            AuthError::Unreadable("this is"),
            AuthError::Unsigned("x-acs-date"),
            AuthError::Mismatch,
            AuthError::Ambiguous,
            AuthError::Body,
        ] {
            let error = Error::from(refused);
            assert_eq!(error.shape().code, "SignatureDoesNotMatch");
            assert!(error.message().contains(':'), "{refused:?}");
        }
    }

    #[test]
    fn each_cause_has_its_status_and_code() {
        let throttle = |code: &str| {
            UpstreamError::Throttled(Throttle {
                error: coded(code),
                wait: Some(Duration::from_millis(250)),
            })
        };
        let of_a_parent = |fault| Error::from(UpstreamError::Parent(fault, OriginError::default()));
        let secret = UpstreamError::Credential(coded("SignatureDoesNotMatch"));
        for (error, status, code) in [
            (
                Error::RouteError(RouteError::UnknownRoute),
                404,
                "InvalidApi.NotFound",
            ),
            (
                Error::RouteError(RouteError::Method("GET")),
                405,
                "UnsupportedHTTPMethod",
            ),
            (Error::BodyTooLong(9), 413, "InvalidParameter"),
            (Error::WritesDisabled, 403, "Gateway.Forbidden"),
            (Error::Overloaded, 429, "Throttling"),
            (Error::NotCached, 504, "Gateway.NotCached"),
            (Error::Internal, 500, "Gateway.Internal"),
            (throttle("").into(), 429, "Throttling"),
            (throttle("Throttling.User").into(), 429, "Throttling.User"),
            (
                throttle("Rejected.Throttling").into(),
                429,
                "Rejected.Throttling",
            ),
            (
                UpstreamError::Transport(Arc::new(TransportError::TooLong)).into(),
                502,
                "Gateway.InvalidUpstreamResponse",
            ),
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
                UpstreamError::Unreadable(OriginError::default()).into(),
                502,
                "Gateway.InvalidUpstreamResponse",
            ),
            (secret.into(), 502, "Gateway.CredentialRejected"),
            (ForwardingLoop::Returned.into(), 508, "Gateway.LoopDetected"),
            (of_a_parent(ParentFault::Loop), 508, "Gateway.LoopDetected"),
            (
                of_a_parent(ParentFault::Timeout),
                504,
                "Gateway.UpstreamTimeout",
            ),
            (
                of_a_parent(ParentFault::Overloaded),
                503,
                "Gateway.UpstreamUnavailable",
            ),
            (
                of_a_parent(ParentFault::Unreadable),
                502,
                "Gateway.InvalidUpstreamResponse",
            ),
            (
                of_a_parent(ParentFault::Credential),
                502,
                "Gateway.CredentialRejected",
            ),
        ] {
            let answer = failure(&error, "ID", "host:1");
            assert_eq!(answer.status, status, "{error:?}");
            assert_eq!(answer.retry_after.is_some(), status == 429, "{error:?}");
            assert_eq!(error.shape().code, code);
            assert!(!error.message().contains("SignatureDoesNotMatch"));
        }
    }

    /// The texts are the vendor's own, but for the credential's, whose cause is the operator's alone to know.
    #[test]
    fn a_message_says_what_the_vendor_says_and_nothing_of_our_key() {
        let throttle = Throttle {
            error: coded("Throttling.User"),
            wait: None,
        };
        let malformed = Malformed::new("ImageId must be short");
        for (error, message) in [
            (
                Error::RouteError(RouteError::UnknownRoute),
                "Specified api is not found, please check your url and method.",
            ),
            (
                Error::RouteError(RouteError::Method("GET")),
                "This http method is not supported.",
            ),
            (
                Error::RouteError(RouteError::Malformed(Action::GetImage, malformed)),
                "ImageId must be short",
            ),
            (
                UpstreamError::Throttled(throttle).into(),
                "Request was denied due to flow control.",
            ),
            (
                UpstreamError::Credential(coded("InvalidAccessKeyId.NotFound")).into(),
                "the gateway's credential is refused by the origin",
            ),
        ] {
            assert_eq!(error.message(), message);
        }
    }

    #[test]
    fn a_method_that_a_route_has_not_is_answered_with_those_that_it_has() {
        let error = Error::RouteError(RouteError::Method("GET, POST"));
        assert_eq!(error.shape().allow, Some("GET, POST"));
    }

    #[test]
    fn an_origin_that_is_not_reached_is_unavailable_and_one_that_cannot_be_read_is_invalid() {
        for (error, status) in [
            (TransportError::Connection("reset".to_owned()), 503),
            (TransportError::Stale("closed".to_owned()), 503),
            (TransportError::TooLong, 502),
            (TransportError::Encoding, 502),
        ] {
            let error = Error::from(UpstreamError::Transport(Arc::new(error)));
            assert_eq!(error.shape().status, status, "{error:?}");
        }
    }
}
