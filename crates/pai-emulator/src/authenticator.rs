//! Authentication: every check that the origin makes before it looks at the operation.
//!
//! The order of the checks decides the error of a request with two faults: the form of the credential, the
//! headers that a signature must cover, version, date, key, token, body, signature, and last the nonce, so
//! that a rejected request uses up none.

use std::time::Instant;

use aws_lc_rs::digest;
use http::{HeaderMap, header, request::Parts};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::auth_rejection::AuthRejection;
use super::nonces::Nonces;
use aliyun_auth::{self as signing, Authorization, WINDOW_SECONDS};
use pai_api as api;

/// Verifies requests against the emulator's only access key, and remembers the nonces of recent ones.
pub(super) struct Authenticator {
    access_key_id: String,
    secret: SecretString,
    token: Option<SecretString>,
    nonces: Nonces,
}

impl Authenticator {
    pub(super) fn new(
        access_key_id: String,
        secret: SecretString,
        token: Option<SecretString>,
    ) -> Self {
        Self {
            access_key_id,
            secret,
            token,
            nonces: Nonces::default(),
        }
    }

    pub(super) fn nonces(&self) -> usize {
        self.nonces.len()
    }

    /// Authenticates a request, or returns the reason for its rejection.
    pub(super) fn check(
        &self,
        head: &Parts,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), AuthRejection> {
        let authorization = authorization(&head.headers)?;
        let [_, version, _, date, nonce, hash] = required(&head.headers, &authorization)?;
        if version != api::VERSION {
            return Err(AuthRejection::Version);
        }
        check_date(date, now)?;
        if authorization.access_key_id != self.access_key_id {
            return Err(AuthRejection::UnknownKey);
        }
        self.check_token(&head.headers, &authorization)?;
        let payload_hash = sha256(body);
        if hash != payload_hash {
            return Err(AuthRejection::ContentHash);
        }
        self.check_signature(head, &payload_hash, &authorization)?;
        if self.nonces.is_new(nonce, Instant::now()) {
            Ok(())
        } else {
            Err(AuthRejection::NonceUsed)
        }
    }

    fn check_token(
        &self,
        headers: &HeaderMap,
        authorization: &Authorization<'_>,
    ) -> Result<(), AuthRejection> {
        let name = "x-acs-security-token";
        if !headers.contains_key(name) {
            return if self.token.is_some() {
                Err(AuthRejection::NoToken)
            } else {
                Ok(())
            };
        }
        let sent = signed_once(headers, authorization, name).ok_or(AuthRejection::Unsigned)?;
        match &self.token {
            Some(token) if token.expose_secret() == sent => Ok(()),
            Some(_) | None => Err(AuthRejection::WrongToken),
        }
    }

    fn check_signature(
        &self,
        head: &Parts,
        payload_hash: &str,
        authorization: &Authorization<'_>,
    ) -> Result<(), AuthRejection> {
        let target = (head.uri.path(), head.uri.query().unwrap_or(""));
        let method = head.method.as_str();
        signing::verify(
            method,
            target,
            &signing::RequestHeaders::of_request(head),
            payload_hash,
            authorization,
            &signing::VerifyingKey::new(&self.secret),
        )
        .map_err(|_| AuthRejection::Signature)
    }
}

pub(super) fn authorization(headers: &HeaderMap) -> Result<Authorization<'_>, AuthRejection> {
    let header = headers
        .get(header::AUTHORIZATION)
        .ok_or(AuthRejection::NoAuthorization)?;
    let text = header.to_str().map_err(|_| AuthRejection::Unreadable)?;
    Authorization::parse(text).map_err(|_| AuthRejection::Unreadable)
}

/// Returns the values of the headers that a signature must cover, in the order of [`REQUIRED`].
fn required<'a>(
    headers: &'a HeaderMap,
    authorization: &Authorization<'_>,
) -> Result<[&'a str; 6], AuthRejection> {
    let mut values = [""; 6];
    for (value, (name, code)) in values.iter_mut().zip(REQUIRED) {
        if !headers.contains_key(name) {
            return Err(AuthRejection::Missing(code));
        }
        *value = signed_once(headers, authorization, name).ok_or(AuthRejection::Unsigned)?;
    }
    Ok(values)
}

fn signed_once<'a>(
    headers: &'a HeaderMap,
    authorization: &Authorization<'_>,
    name: &str,
) -> Option<&'a str> {
    let mut signed = authorization.signed_headers.split(';');
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    (values.next().is_none() && signed.any(|signed| signed.eq_ignore_ascii_case(name)))
        .then_some(value)
}

fn check_date(date: &str, now: Timestamp) -> Result<(), AuthRejection> {
    let read: Timestamp = date.parse().map_err(|_| AuthRejection::DateFormat)?;
    // The parser accepts many forms of a date, the API only one.
    if read.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() != date {
        return Err(AuthRejection::DateFormat);
    }
    if read.duration_since(now).abs() > SignedDuration::from_secs(WINDOW_SECONDS) {
        return Err(AuthRejection::Expired);
    }
    Ok(())
}

pub(super) fn sha256(body: &[u8]) -> String {
    signing::hex(digest::digest(&digest::SHA256, body).as_ref())
}

const REQUIRED: [(&str, &str); 6] = [
    ("host", "MissingHost"),
    ("x-acs-version", "MissingVersion"),
    ("x-acs-action", "MissingAction"),
    ("x-acs-date", "MissingTimeStamp"),
    ("x-acs-signature-nonce", "MissingSignatureNonce"),
    ("x-acs-content-sha256", "MissingContentSha256"),
];

#[cfg(test)]
mod tests {
    use super::super::harness::{Harness, get_image};
    use super::super::{Settings, Store};
    use super::*;
    use aliyun_auth::UnsignedRequest;

    #[tokio::test]
    async fn a_signed_request_is_authenticated() {
        let harness = Harness::start(Settings::default()).await;
        let reply = harness.fetch(&Store::id(0)).await;
        assert_eq!(reply.status, 200);
        let counts = harness.emulator.counts();
        assert_eq!((counts.nonces, counts.rejected.len()), (1, 0));
        assert_eq!(counts.operations["GetImage"], 1);
    }

    #[tokio::test]
    async fn a_nonce_is_used_once_and_only_by_a_genuine_request() {
        let harness = Harness::start(Settings::default()).await;
        let (draft, first) = (get_image(&Store::id(0)), "nonce-1");
        let mut forged = harness.credentials.clone();
        forged.access_key_secret = "guess".into();
        let mut codes = Vec::new();
        for credentials in [&forged, &harness.credentials, &harness.credentials] {
            let request = harness.signed_at(&draft, credentials, Timestamp::now(), first);
            codes.push(harness.send(request).await.code());
        }
        assert_eq!(codes, ["SignatureDoesNotMatch", "", "SignatureNonceUsed"]);
    }

    #[tokio::test]
    async fn a_clock_that_is_off_refuses_and_says_so_in_its_date() {
        let harness = Harness::start(Settings::default()).await;
        harness
            .emulator
            .set_clock_offset(SignedDuration::from_mins(20));
        let reply = harness.fetch(&Store::id(0)).await;
        assert_eq!(reply.code(), "InvalidTimeStamp.Expired");
        let date = httpdate::parse_http_date(reply.header("date")).unwrap();
        let ahead = date.duration_since(std::time::SystemTime::now()).unwrap();
        assert!((1_190..1_210).contains(&ahead.as_secs()), "{ahead:?}");
        let (draft, later) = (
            get_image(&Store::id(0)),
            Timestamp::now() + SignedDuration::from_mins(20),
        );
        let corrected = harness.signed_at(&draft, &harness.credentials, later, "n");
        assert_eq!(harness.send(corrected).await.status, 200);
    }

    #[tokio::test]
    async fn a_body_other_than_the_signed_one_is_refused() {
        let harness = Harness::start(Settings::default()).await;
        let draft = UnsignedRequest {
            body: "{}".into(),
            ..harness.draft(
                http::Method::POST,
                "/api/v1/images",
                "",
                api::Action::AddImage,
            )
        };
        let mut request = harness.signed(&draft);
        *request.body_mut() = bytes::Bytes::from("[]").into();
        assert_eq!(harness.send(request).await.code(), "SignatureDoesNotMatch");
        assert_eq!(harness.emulator.counts().rejected["content_hash"], 1);
    }

    #[tokio::test]
    async fn the_action_must_be_the_routes() {
        let harness = Harness::start(Settings::default()).await;
        let draft = UnsignedRequest {
            action: api::Action::RemoveImage.as_str(),
            ..get_image(&Store::id(0))
        };
        let reply = harness.send(harness.signed(&draft)).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "InvalidAction.NotFound")
        );
    }
}
