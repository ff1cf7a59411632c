//! ACS3-HMAC-SHA256 signatures for requests to the cloud.

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{ALGORITHM, canonical_request, hex, string_to_sign};

/// Access key to sign with. It lacks `Debug`, so that no type that contains it can print the secret.
#[derive(Clone)]
pub struct Credentials {
    /// Id of the key, which is public.
    pub access_key_id: String,
    /// Secret of the key.
    pub access_key_secret: SecretString,
    /// Security token of a temporary key, as STS issues it.
    pub security_token: Option<SecretString>,
}

/// Request before it is signed.
#[derive(Debug, Clone)]
pub struct UnsignedRequest {
    /// HTTP method.
    pub method: Method,
    /// Value of the `host` header: the origin's name, with the port unless it is the scheme's default.
    pub host: String,
    /// Path, escaped by RFC 3986.
    pub path: String,
    /// Query in canonical form (see [`pai_api::Query::canonical`]), without `?`.
    pub query: String,
    /// Name of the operation, for `x-acs-action`.
    pub action: &'static str,
    /// Version of the API, for `x-acs-version`.
    pub version: &'static str,
    /// Request body; empty for none.
    pub body: Bytes,
}

/// Signs a request and returns all of its headers in the order to send, `authorization` last.
///
/// The cloud accepts a nonce once per key and a date for [`WINDOW_SECONDS`](super::WINDOW_SECONDS), so every attempt
/// needs a signature of its own.
#[must_use]
pub fn sign(
    draft: &UnsignedRequest,
    credentials: &Credentials,
    date: Timestamp,
    nonce: &str,
) -> Vec<(&'static str, String)> {
    let payload_hash = payload_hash(draft);
    let mut headers = unsigned_headers(draft, &payload_hash, date, nonce);
    if let Some(token) = &credentials.security_token {
        headers.push(("x-acs-accesskey-id", credentials.access_key_id.clone()));
        headers.push(("x-acs-security-token", token.expose_secret().to_owned()));
    }
    let pairs = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let (canonical, signed) = canonical_request(
        draft.method.as_str(),
        &draft.path,
        &draft.query,
        pairs,
        &payload_hash,
    );
    headers.push((
        "authorization",
        authorization(&canonical, &signed, credentials),
    ));
    headers
}

/// Returns all headers of a request that a bearer token authenticates instead of a signature, as the vendor's SDKs send
/// it: `x-acs-bearer-token`, and no `authorization`.
pub(super) fn with_bearer_token(
    draft: &UnsignedRequest,
    token: &SecretString,
    date: Timestamp,
    nonce: &str,
) -> Vec<(&'static str, String)> {
    let mut headers = unsigned_headers(draft, &payload_hash(draft), date, nonce);
    headers.push(("x-acs-bearer-token", token.expose_secret().to_owned()));
    headers.push(("x-acs-signature-type", "BEARERTOKEN".to_owned()));
    headers
}

fn payload_hash(draft: &UnsignedRequest) -> String {
    hex(digest::digest(&digest::SHA256, &draft.body).as_ref())
}

/// Returns the headers that every request has, whatever authenticates it.
fn unsigned_headers(
    draft: &UnsignedRequest,
    payload_hash: &str,
    date: Timestamp,
    nonce: &str,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("host", draft.host.clone()),
        ("x-acs-version", draft.version.to_owned()),
        ("x-acs-action", draft.action.to_owned()),
        (
            "x-acs-date",
            date.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        ),
        ("x-acs-signature-nonce", nonce.to_owned()),
        ("x-acs-content-sha256", payload_hash.to_owned()),
    ];
    if !draft.body.is_empty() {
        headers.push(("content-type", "application/json; charset=utf-8".to_owned()));
    }
    headers
}

/// Returns the value of `Authorization` for a canonical request.
#[must_use]
pub fn authorization(canonical: &str, signed_headers: &str, credentials: &Credentials) -> String {
    let key = hmac::Key::new(
        hmac::HMAC_SHA256,
        credentials.access_key_secret.expose_secret().as_bytes(),
    );
    let signature = hex(hmac::sign(&key, string_to_sign(canonical).as_bytes()).as_ref());
    let id = &credentials.access_key_id;
    format!("{ALGORITHM} Credential={id},SignedHeaders={signed_headers},Signature={signature}")
}

#[cfg(test)]
mod tests {
    use pai_api::Query;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Vector {
        name: String,
        method: String,
        path: String,
        query: Vec<(String, String)>,
        headers: Vec<(String, String)>,
        access_key_id: String,
        access_key_secret: String,
        authorization: String,
    }

    impl Vector {
        fn header(&self, wanted: &str) -> Option<&str> {
            let mut headers = self.headers.iter();
            let (_, value) = headers.find(|(name, _)| name == wanted)?;
            Some(value)
        }

        fn signed(&self, body: &'static str) -> Vec<(&'static str, String)> {
            let draft = UnsignedRequest {
                method: self.method.parse().unwrap(),
                host: self.header("host").unwrap().to_owned(),
                path: self.path.clone(),
                query: self.query.iter().cloned().collect::<Query>().canonical(),
                action: "GetImage",
                version: "2021-02-04",
                body: Bytes::from(body),
            };
            let credentials = Credentials {
                access_key_id: self.access_key_id.clone(),
                access_key_secret: self.access_key_secret.clone().into(),
                security_token: self.header("x-acs-security-token").map(SecretString::from),
            };
            let date = self.header("x-acs-date").unwrap().parse().unwrap();
            let nonce = self.header("x-acs-signature-nonce").unwrap();
            sign(&draft, &credentials, date, nonce)
        }
    }

    /// The vendor's Python SDK made these signatures over the headers that this gateway sends, and no others.
    #[test]
    fn a_request_is_signed_as_the_vendor_signs_it() {
        let text = include_str!("../../../tests/vectors/acs3.json");
        let vectors = serde_json::from_str::<Vec<Vector>>(text).unwrap();
        for name in [
            "GetImage Verbose=false minimal headers",
            "GetImage STS minimal",
        ] {
            let vector = vectors.iter().find(|vector| vector.name == name).unwrap();
            let mut expected = vector.headers.clone();
            expected.push(("authorization".to_owned(), vector.authorization.clone()));
            expected.sort_unstable();
            let signed = vector.signed("").into_iter();
            let mut signed: Vec<_> = signed
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            signed.sort_unstable();
            assert_eq!(signed, expected, "{name}");
            let with_body = vector.signed("{}");
            let has_type =
                with_body.contains(&("content-type", "application/json; charset=utf-8".to_owned()));
            assert!(has_type, "{name}");
        }
    }
}
