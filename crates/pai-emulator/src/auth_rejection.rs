//! Reasons for rejecting a request at authentication, and the response to each.

use std::borrow::Cow;

use http::{StatusCode, request::Parts};

use super::api_error::{ApiError, message_for};
use super::authenticator::{authorization, sha256};
use aliyun_auth::{canonical_request, string_to_sign};
use pai_api::Query;

/// Reason why a request failed authentication, before its operation was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthRejection {
    NoAuthorization,
    Unreadable,
    /// A header that must be signed is absent; holds the Code of the response.
    Missing(&'static str),
    /// A header that must be signed is present, but unsigned or repeated.
    Unsigned,
    Version,
    DateFormat,
    Expired,
    UnknownKey,
    NoToken,
    WrongToken,
    ContentHash,
    Signature,
    NonceUsed,
}

impl AuthRejection {
    /// Returns the name under which the reason is counted.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoAuthorization => "no_authorization",
            Self::Unreadable => "unreadable_authorization",
            Self::Missing(_) => "missing_header",
            Self::Unsigned => "unsigned_header",
            Self::Version => "version",
            Self::DateFormat => "date_format",
            Self::Expired => "clock",
            Self::UnknownKey => "unknown_key",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::ContentHash => "content_hash",
            Self::Signature => "signature",
            Self::NonceUsed => "nonce",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::NoAuthorization => "MissingAccessKeyId",
            Self::Unreadable | Self::Unsigned => "IncompleteSignature",
            Self::Missing(code) => code,
            Self::Version => "InvalidVersion",
            Self::DateFormat => "InvalidTimeStamp.Format",
            Self::Expired => "InvalidTimeStamp.Expired",
            Self::UnknownKey => "InvalidAccessKeyId.NotFound",
            Self::NoToken => "MissingSecurityToken",
            Self::WrongToken => "InvalidSecurityToken.Malformed",
            Self::ContentHash | Self::Signature => SIGNATURE_DOES_NOT_MATCH,
            Self::NonceUsed => "SignatureNonceUsed",
        }
    }

    /// Returns the error of the response.
    pub(super) fn to_api_error(self, head: &Parts, body: &[u8]) -> ApiError {
        let status = if self == Self::UnknownKey {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::BAD_REQUEST
        };
        let message = if self.code() == SIGNATURE_DOES_NOT_MATCH {
            Cow::Owned(mismatch_message(head, body))
        } else if let Self::Missing(code) = self {
            let name = code.trim_start_matches("Missing");
            Cow::Owned(format!("{name} is mandatory for this action."))
        } else {
            Cow::Borrowed(message_for(self.code()))
        };
        ApiError::new(status, self.code(), message)
    }
}

/// Code of a wrong signature.
pub(super) const SIGNATURE_DOES_NOT_MATCH: &str = "SignatureDoesNotMatch";

/// Returns the origin's message for a wrong signature. It quotes the signed request, the caller's security
/// token included, so a proxy that relays the message leaks the token.
pub(super) fn mismatch_message(head: &Parts, body: &[u8]) -> String {
    let signed = authorization(&head.headers).map_or("", |read| read.signed_headers);
    let headers = signed.split(';').flat_map(|name| {
        let values = head.headers.get_all(name).iter();
        values.filter_map(move |value| Some((name, value.to_str().ok()?)))
    });
    let query = head.uri.query().unwrap_or("");
    let query = Query::parse(query).map_or_else(|_| query.to_owned(), |query| query.canonical());
    let method = head.method.as_str();
    let (canonical, _) = canonical_request(method, head.uri.path(), &query, headers, &sha256(body));
    format!(
        "Specified signature does not match our calculation. server StringToSign is [{}] server CanonicalRequest is [{canonical}]",
        string_to_sign(&canonical)
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use secrecy::SecretString;

    use super::super::harness::{Harness, get_image};
    use super::super::{Settings, Store};

    /// Signs a valid request, changes its headers, and returns the response to it.
    async fn changed(settings: Settings, change: impl Fn(&mut HeaderMap)) -> (u16, String) {
        let harness = Harness::start(settings).await;
        let mut request = harness.signed(&get_image(&Store::id(0)));
        change(request.headers_mut());
        let reply = harness.send(request).await;
        let rejected = harness.emulator.counts().rejected;
        assert_eq!(rejected.values().sum::<u64>(), 1);
        assert_eq!(harness.emulator.fetches(&Store::id(0)), 0);
        (reply.status, reply.code())
    }

    fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
        headers.insert(name, value.parse().unwrap());
    }

    #[tokio::test]
    async fn a_header_that_must_be_signed_is_missed_by_name() {
        let absent = async |name: &'static str| {
            changed(Settings::default(), |headers| drop(headers.remove(name))).await
        };
        for (name, code) in [
            ("authorization", "MissingAccessKeyId"),
            ("x-acs-version", "MissingVersion"),
            ("x-acs-action", "MissingAction"),
            ("x-acs-date", "MissingTimeStamp"),
            ("x-acs-signature-nonce", "MissingSignatureNonce"),
            ("x-acs-content-sha256", "MissingContentSha256"),
        ] {
            assert_eq!(absent(name).await, (400, code.to_owned()), "{name}");
        }
    }

    #[tokio::test]
    async fn a_header_changed_after_signing_is_refused_by_its_own_code() {
        for (name, value, status, code) in [
            ("authorization", "acs AK:c2ln", 400, "IncompleteSignature"),
            ("x-acs-version", "2020-01-01", 400, "InvalidVersion"),
            ("x-acs-date", "yesterday", 400, "InvalidTimeStamp.Format"),
            (
                "x-acs-date",
                "2026-11-23T09:09:37.5Z",
                400,
                "InvalidTimeStamp.Format",
            ),
            (
                "x-acs-date",
                "2020-11-23T09:09:37Z",
                400,
                "InvalidTimeStamp.Expired",
            ),
            ("x-acs-content-sha256", "00", 400, "SignatureDoesNotMatch"),
            (
                "x-acs-signature-nonce",
                "another",
                400,
                "SignatureDoesNotMatch",
            ),
            ("x-acs-action", "ListImages", 400, "SignatureDoesNotMatch"),
            (
                "x-acs-security-token",
                "unsigned",
                400,
                "IncompleteSignature",
            ),
        ] {
            let answer = changed(Settings::default(), |headers| put(headers, name, value)).await;
            assert_eq!(answer, (status, code.to_owned()), "{name}: {value}");
        }
    }

    #[tokio::test]
    async fn a_header_sent_twice_is_refused() {
        let answer = changed(Settings::default(), |headers| {
            let date = headers["x-acs-date"].clone();
            headers.append("x-acs-date", date);
        });
        assert_eq!(answer.await, (400, "IncompleteSignature".to_owned()));
    }

    #[tokio::test]
    async fn another_key_or_secret_is_refused() {
        let harness = Harness::start(Settings::default()).await;
        let mut stranger = harness.credentials.clone();
        stranger.access_key_id = "LTAIstranger".to_owned();
        let reply = harness.send_as(&get_image("image-1"), &stranger).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "InvalidAccessKeyId.NotFound")
        );
        let mut guess = harness.credentials.clone();
        guess.access_key_secret = "guess".into();
        let reply = harness.send_as(&get_image("image-1"), &guess).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "SignatureDoesNotMatch")
        );
    }

    #[tokio::test]
    async fn the_token_must_be_the_configured_one() {
        let token = |text: &str| Some(SecretString::from(text));
        let none = "";
        for (configured, sent, code) in [
            (token("t"), token("t"), none),
            (token("t"), None, "MissingSecurityToken"),
            (token("t"), token("u"), "InvalidSecurityToken.Malformed"),
            (None, token("t"), "InvalidSecurityToken.Malformed"),
        ] {
            let settings = Settings {
                security_token: configured,
                ..Settings::default()
            };
            let harness = Harness::start(settings).await;
            let mut credentials = harness.credentials.clone();
            credentials.security_token = sent;
            let reply = harness
                .send_as(&get_image(&Store::id(0)), &credentials)
                .await;
            assert_eq!(reply.code(), code);
        }
    }

    #[tokio::test]
    async fn the_error_of_a_wrong_signature_quotes_the_signed_request() {
        let settings = Settings {
            security_token: Some("STS.token/+=abc".into()),
            ..Settings::default()
        };
        let harness = Harness::start(settings).await;
        let mut credentials = harness.credentials.clone();
        credentials.access_key_secret = "guess".into();
        let image = Store::id(0);
        let reply = harness.send_as(&get_image(&image), &credentials).await;
        let message = reply.json()["Message"].as_str().unwrap().to_owned();
        let start = "Specified signature does not match our calculation. server StringToSign is [ACS3-HMAC-SHA256\n";
        assert!(message.starts_with(start), "{message}");
        for quoted in [
            format!("server CanonicalRequest is [GET\n/api/v1/images/{image}\n\nhost:"),
            "x-acs-security-token:STS.token/+=abc\n".to_owned(),
            format!("x-acs-accesskey-id:{}\n", credentials.access_key_id),
        ] {
            assert!(message.contains(&quoted), "{message}");
        }
    }

    #[tokio::test]
    async fn an_error_has_the_recorded_shape() {
        let harness = Harness::start(Settings::default()).await;
        let reply = harness.fetch("image-none").await;
        let body = reply.json();
        let id = body["RequestId"].as_str().unwrap();
        assert_eq!(reply.header("x-acs-request-id"), id);
        assert_eq!(body["HostId"], harness.emulator.address().to_string());
        assert_eq!(
            body["Recommend"],
            format!(
                "https://api.aliyun.com/troubleshoot?q=ImageNotFound&product=AIWorkSpace&requestId={id}"
            )
        );
        let names: Vec<_> = body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            names,
            ["Code", "HostId", "Message", "Recommend", "RequestId"]
        );
    }
}
