//! Identity of the gateway towards its origin: an access key, or a token that a parent gateway accepts.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::sign::with_bearer_token;
use super::{Credentials, UnsignedRequest, sign};

/// Proof of the gateway's identity in its requests. It lacks `Debug`, so that no type that contains it can print a
/// secret.
#[derive(Clone)]
pub enum Identity {
    /// Access key, which signs each request.
    Key(Credentials),
    /// Bearer token, which each request carries. Only a parent gateway accepts one; the API does not.
    Bearer(SecretString),
}

impl Identity {
    /// Returns all headers of a request, with the proof of identity last.
    #[must_use]
    pub fn headers(
        &self,
        draft: &UnsignedRequest,
        date: Timestamp,
        nonce: &str,
    ) -> Vec<(&'static str, String)> {
        match self {
            Self::Key(credentials) => sign(draft, credentials, date, nonce),
            Self::Bearer(token) => with_bearer_token(draft, token, date, nonce),
        }
    }

    /// Returns the id of the access key; `None` for a token, which has no part that is not secret.
    #[must_use]
    pub fn access_key_id(&self) -> Option<&str> {
        match self {
            Self::Key(credentials) => Some(&credentials.access_key_id),
            Self::Bearer(_) => None,
        }
    }

    /// Returns every text that must not appear in a response: id, secret and tokens.
    #[must_use]
    pub fn secrets(&self) -> [Option<&str>; 3] {
        match self {
            Self::Key(credentials) => [
                Some(&credentials.access_key_id),
                Some(credentials.access_key_secret.expose_secret()),
                credentials
                    .security_token
                    .as_ref()
                    .map(|token| token.expose_secret()),
            ],
            Self::Bearer(token) => [Some(token.expose_secret()), None, None],
        }
    }

    /// Returns whether the proof is replaced from time to time, so that another one is no change of the account.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Key(credentials) => credentials.security_token.is_some(),
            Self::Bearer(_) => true,
        }
    }
}

impl From<Credentials> for Identity {
    fn from(credentials: Credentials) -> Self {
        Self::Key(credentials)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;

    use super::*;

    /// The headers that alibabacloud-tea-openapi 0.4.6 sends with `Config(bearer_token=…)`.
    #[test]
    fn a_token_is_sent_as_the_vendors_sdk_sends_it() {
        let draft = UnsignedRequest {
            method: Method::GET,
            host: "gateway.example".to_owned(),
            path: "/api/v1/images/image-1".to_owned(),
            query: String::new(),
            action: "GetImage",
            version: "2021-02-04",
            body: Bytes::new(),
        };
        let date = "2026-11-23T09:09:37Z".parse().unwrap();
        let headers = Identity::Bearer("a.b.c".into()).headers(&draft, date, "nonce");
        let expected = [
            ("host", "gateway.example"),
            ("x-acs-version", "2021-02-04"),
            ("x-acs-action", "GetImage"),
            ("x-acs-date", "2026-11-23T09:09:37Z"),
            ("x-acs-signature-nonce", "nonce"),
            (
                "x-acs-content-sha256",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            ("x-acs-bearer-token", "a.b.c"),
            ("x-acs-signature-type", "BEARERTOKEN"),
        ];
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(headers.collect::<Vec<_>>(), expected);
    }
}
