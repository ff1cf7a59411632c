use std::sync::Arc;

use http_body_util::BodyExt;
use strum::VariantArray as _;

use super::*;
use crate::api::{Action, Malformed};
use crate::auth::TokenError;
use crate::response::failure;
use crate::transport::TransportError;
use crate::upstream::Throttle;
use crate::upstream::via::ForwardingLoop;

#[test]
fn no_client_waits_for_more_than_a_minute() {
    let secs = Duration::from_secs;
    assert_eq!(bounded_wait(secs(60), 0.5), secs(60));
    assert_eq!(
        bounded_wait(Duration::from_millis(1), 0.5),
        Duration::from_millis(1)
    );
    for (draw, expected) in [(0.0, 30), (0.5, 45), (1.0, 60)] {
        assert_eq!(bounded_wait(secs(9999), draw), secs(expected));
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
    for (theirs, expected) in [("", "OURS"), ("THEIRS", "THEIRS")] {
        for error in [
            Error::Origin(error(theirs)),
            UpstreamError::Refused(error(theirs)).into(),
            UpstreamError::Account(error(theirs)).into(),
        ] {
            let answer = failure(&error, "OURS", "host");
            let body = answer.body.collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["RequestId"], expected);
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
        assert_eq!(error.wire().code, "SignatureDoesNotMatch");
        assert!(error.wire().message.contains(':'), "{refused:?}");
    }
}

fn coded(code: &str) -> OriginError {
    OriginError {
        code: code.to_owned(),
        ..OriginError::default()
    }
}

/// Every error, in the order of the table.
fn every_error() -> Vec<Error> {
    let origin = |status, code: &str, message: &str| OriginError {
        status,
        code: code.to_owned(),
        message: message.to_owned(),
        request_id: "R".to_owned(),
    };
    let throttle = |code: &str| {
        let error = coded(code);
        UpstreamError::Throttled(Throttle { error, wait: None })
    };
    let malformed = Malformed::new("*the rule*");
    let image = |outcome| Error::ImageNotFound {
        outcome,
        code: "ImageNotFound".into(),
    };
    let auth = [
        AuthError::NoCredential,
        AuthError::Unreadable("*the rule*"),
        AuthError::Unsigned("*the header*"),
        AuthError::Ambiguous,
        AuthError::Body,
        AuthError::Mismatch,
        AuthError::UnknownKey,
        AuthError::Token(TokenError::Expired),
        AuthError::CloudKey,
        AuthError::Expired,
        AuthError::BadDate,
        AuthError::Version,
        AuthError::Action,
        AuthError::NonceUsed,
        AuthError::NoncesFull,
        AuthError::NotRecorded,
        AuthError::NoToken,
        AuthError::WrongToken,
        AuthError::Exposed("*the connection*"),
    ];
    let upstream = [
        UpstreamError::Timeout,
        UpstreamError::Transport(Arc::new(TransportError::Connection("reset".to_owned()))),
        UpstreamError::Transport(Arc::new(TransportError::TooLong)),
        throttle(""),
        throttle("Throttling.User"),
        UpstreamError::Server(origin(500, "InternalError", "")),
        UpstreamError::Foreign(origin(407, "", "")),
        UpstreamError::Refused(origin(403, "NoPermission", "*the origin's*")),
        UpstreamError::Unreadable(coded("")),
        UpstreamError::Credential(coded("SignatureDoesNotMatch")),
        UpstreamError::Permission(coded("NoPermission")),
        UpstreamError::CircuitOpen,
        UpstreamError::Overloaded(Duration::from_secs(2)),
        UpstreamError::NoCredential,
    ];
    let own = [
        Error::RouteError(RouteError::UnknownRoute),
        Error::RouteError(RouteError::Method("GET")),
        Error::RouteError(RouteError::Malformed(Action::GetImage, malformed.clone())),
        Error::Malformed(malformed),
        Error::BodyTooLong(65_536),
        Error::BodyTooSlow,
        Error::Forbidden("*the missing permission*"),
        Error::WritesDisabled,
        Error::RateLimited(Duration::from_secs(1)),
        Error::Overloaded,
        image(Outcome::Denied),
        image(Outcome::Negative),
        Error::NotCached,
        Error::Loop(ForwardingLoop::Returned),
        Error::Loop(ForwardingLoop::TooLong),
        Error::Origin(origin(400, "InvalidParameter", "*the origin's*")),
        Error::Internal,
    ];
    let parents = ParentFault::VARIANTS.iter();
    own.into_iter()
        .chain(auth.into_iter().map(Error::from))
        .chain(upstream.into_iter().map(Error::from))
        .chain(parents.map(|&fault| UpstreamError::Parent(fault, coded("")).into()))
        .collect()
}

/// The table of docs/errors.md: a row for each form that an error can have.
fn table() -> String {
    let mut rows = Vec::new();
    for error in every_error() {
        let wire = error.wire();
        let header = match (wire.retry_after, wire.allow) {
            (Some(_), _) => "`x-acs-retry-after`",
            (None, Some(_)) => "`Allow`",
            (None, None) => "",
        };
        let row = format!(
            "| {} | {} | `{}` | {} | {header} |\n",
            wire.outcome.as_str(),
            wire.status.as_u16(),
            wire.code,
            wire.message
        );
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows.concat()
}

#[test]
fn the_documented_table_has_every_error() {
    let table = table();
    let page = include_str!("../../../docs/errors.md");
    assert!(
        page.ends_with(&table),
        "docs/errors.md must end with:\n{table}"
    );
}

#[test]
fn a_429_says_when_to_retry_and_nothing_else_does() {
    for error in every_error() {
        let answer = failure(&error, "ID", "host:1");
        assert_eq!(
            answer.retry_after.is_some(),
            answer.status == 429,
            "{error:?}"
        );
    }
}

/// The texts are the vendor's own, but for the credential's, whose cause is the operator's alone to know.
#[test]
fn a_message_is_the_vendors_and_names_nothing_of_our_key() {
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
        assert_eq!(error.wire().message, message);
    }
}

#[test]
fn a_method_that_a_route_has_not_is_answered_with_those_that_it_has() {
    let error = Error::RouteError(RouteError::Method("GET, POST"));
    assert_eq!(error.wire().allow, Some("GET, POST"));
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
        assert_eq!(error.wire().status, status, "{error:?}");
    }
}
