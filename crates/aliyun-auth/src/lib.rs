//! ACS3-HMAC-SHA256, the request signature of Alibaba Cloud's APIs ("V3 request structure and signature").
//! Clients may sign with ACS3-HMAC-SM3 too, which has SM3 in the place of SHA-256.
//!
//! ```text
//! canonical request = method, path, query, headers, names of the signed headers, hash of the body
//! string to sign    = "ACS3-HMAC-SHA256" \n hex(sha256(canonical request))
//! signature         = hex(hmac_sha256(secret, string to sign))
//! ```
//!
//! [`sign`] and [`verify`](verify()) share no step that could be wrong in both alike without the vendor's
//! vectors noticing: signing writes what it canonicalised, verifying canonicalises what it read.

mod algorithm;
mod canonical;
mod headers;
mod key;
mod path_encodings;
pub mod roa;
pub mod rpc;
mod verify;

pub use algorithm::Algorithm;
pub use canonical::{canonical_request, string_to_sign};
pub use headers::RequestHeaders;
pub use headers::split;
pub use key::VerifyingKey;
pub use verify::{Authorization, VerifyError, unhex, verify};

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use pai_api::Action;

/// The algorithm's name, first word of `Authorization` and first line of the string to sign.
pub const ALGORITHM: &str = Algorithm::Sha256.as_str();

/// How far a request's date may be from the verifier's clock, in seconds.
pub const WINDOW_SECONDS: i64 = 15 * 60;

/// A key to sign with. It has no `Debug`: nothing that holds one can print it.
#[derive(Clone)]
pub struct Credentials {
    /// Which key; not a secret.
    pub access_key_id: String,
    /// Its secret.
    pub access_key_secret: SecretString,
    /// The token that goes with a temporary key.
    pub security_token: Option<SecretString>,
}

/// What is to be asked, before it is signed.
#[derive(Debug, Clone)]
pub struct UnsignedRequest {
    /// The method.
    pub method: Method,
    /// The `host` header: the origin's authority, with its port where it is not the scheme's own.
    pub host: String,
    /// The path, escaped by RFC 3986.
    pub path: String,
    /// The query in canonical form (see [`pai_api::Query::canonical`]), without `?`.
    pub query: String,
    /// The operation's name.
    pub action: Action,
    /// The body; empty for none.
    pub body: Bytes,
}

/// Signs a draft: returns every header of the request, in the order to send, `Authorization` last.
///
/// A nonce must never be used twice with one key, and the date holds for 15 minutes at the origin;
/// so each attempt is signed anew.
#[must_use]
pub fn sign(
    draft: &UnsignedRequest,
    credentials: &Credentials,
    date: Timestamp,
    nonce: &str,
) -> Vec<(&'static str, String)> {
    let payload_hash = hex(digest::digest(&digest::SHA256, &draft.body).as_ref());
    let mut headers = vec![
        ("host", draft.host.clone()),
        ("x-acs-version", pai_api::VERSION.to_owned()),
        ("x-acs-action", draft.action.as_str().to_owned()),
        (
            "x-acs-date",
            date.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        ),
        ("x-acs-signature-nonce", nonce.to_owned()),
        ("x-acs-content-sha256", payload_hash.clone()),
    ];
    if !draft.body.is_empty() {
        headers.push(("content-type", "application/json; charset=utf-8".to_owned()));
    }
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

/// The `Authorization` header for a canonical request.
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

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS[usize::from(half)];
    let mut text = vec![0; 2 * bytes.len()];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    String::from_utf8(text).expect("digits are ASCII")
}
