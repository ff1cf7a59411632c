//! Reading of a request: its body, host and operation.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::api_error::ApiError;
use super::inject::ConnectionClosed;
use pai_api::{Call, RouteError};

/// Reads a body. Returns `None` for one that is too large, and [`ConnectionClosed`] for one that broke off or
/// took too long, since no client is left to answer.
pub(super) async fn read(body: Incoming) -> Result<Option<Bytes>, ConnectionClosed> {
    let body = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(BODY_DEADLINE, body).await {
        Ok(Ok(body)) => Ok(Some(body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Ok(None),
        Ok(Err(_)) | Err(_) => Err(ConnectionClosed),
    }
}

pub(super) fn route(head: &Parts) -> Result<Call, ApiError> {
    let call = Call::classify(&head.method, head.uri.path(), head.uri.query());
    let call = call.map_err(|misrouted| match misrouted {
        RouteError::UnknownRoute | RouteError::Method(_) => ApiError::route_not_found(),
        RouteError::Malformed(_, malformed) => malformed.into(),
    })?;
    let asked = head.headers.get("x-acs-action").map(|name| name.as_bytes());
    if asked == Some(call.operation.action().as_str().as_bytes()) {
        return Ok(call);
    }
    let message = "Specified action is not the one of this url and method.";
    Err(ApiError::new(
        StatusCode::NOT_FOUND,
        "InvalidAction.NotFound",
        message,
    ))
}

pub(super) fn host(head: &Parts) -> &str {
    let host = head.headers.get(header::HOST);
    host.and_then(|host| host.to_str().ok()).unwrap_or("")
}

const MAX_BODY: usize = 1 << 20;

const BODY_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::Settings;
    use super::super::harness::Harness;
    use super::*;
    use pai_api::Action;

    #[tokio::test]
    async fn an_unknown_operation_is_rejected_after_the_signature_check() {
        let harness = Harness::start(Settings::default()).await;
        for (method, target, status, code) in [
            (Method::GET, "/api/v1/nothing", 404, "InvalidApi.NotFound"),
            (Method::PUT, "/api/v1/images", 404, "InvalidApi.NotFound"),
            (
                Method::GET,
                "/api/v1/images/a?Verbose=1",
                400,
                "InvalidParameter",
            ),
            (
                Method::GET,
                "/api/v1/images?Labels=x",
                404,
                "InvalidAction.NotFound",
            ),
        ] {
            let reply = harness.ask(method, target, Action::GetImage, "").await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (status, code),
                "{target}"
            );
        }
        assert_eq!(harness.emulator.counts().nonces, 4);
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused() {
        let harness = Harness::start(Settings::default()).await;
        let body = "x".repeat(MAX_BODY + 1);
        let reply = harness
            .ask(Method::POST, "/api/v1/images", Action::AddImage, &body)
            .await;
        assert_eq!(reply.status, 413);
    }
}
