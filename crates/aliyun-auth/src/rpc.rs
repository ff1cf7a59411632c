//! RPC signature version 1.0 (HMAC-SHA1), which STS requires; nothing else here uses it.
//!
//! ```text
//! string to sign = METHOD & %2F & escape(name=value of every parameter, escaped, sorted by name, joined by &)
//! signature      = base64(hmac_sha1(secret + "&", string to sign))
//! ```
//!
//! The vendor's Python credentials library writes a space as `+`. The specification and the other SDKs write `%20`,
//! and so does this module.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pai_api::encode;
use secrecy::{ExposeSecret, SecretString};

/// Names and values of a request's parameters in the order to send.
pub type Parameters = Vec<(&'static str, String)>;

/// Encodes parameters as a query in the given order, escaped by RFC 3986.
pub fn query<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        let joint = if text.is_empty() { "" } else { "&" };
        text.extend([joint, &encode(name), "=", &encode(value)]);
    }
    text
}

/// Returns the string to sign of a request for `/`. The order of the parameters does not matter.
pub fn string_to_sign<'a>(
    method: &str,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut sorted: Vec<_> = parameters.into_iter().collect();
    sorted.sort_unstable();
    format!("{method}&%2F&{}", encode(&query(sorted)))
}

/// Returns the value of the `Signature` parameter.
#[must_use]
pub fn signature(string_to_sign: &str, access_key_secret: &SecretString) -> String {
    let secret = format!("{}&", access_key_secret.expose_secret());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, string_to_sign.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        method: String,
        params: Vec<(String, String)>,
        access_key_secret: String,
        string_to_sign_credentials_lib: String,
        signature_openapi_core: String,
        agree: bool,
        expected: Option<String>,
    }

    impl Vector {
        fn all() -> Vec<Self> {
            let text = include_str!("../../../tests/vectors/rpc_v1.json");
            serde_json::from_str(text).unwrap()
        }

        fn string_to_sign(&self) -> String {
            let pairs = self.params.iter();
            string_to_sign(
                &self.method,
                pairs.map(|(name, value)| (name.as_str(), value.as_str())),
            )
        }
    }

    #[test]
    fn every_vendor_vector_is_reproduced() {
        let vectors = Vector::all();
        assert_eq!(vectors.len(), 7);
        for vector in vectors {
            let signed = signature(&vector.string_to_sign(), &vector.access_key_secret.into());
            assert_eq!(signed, vector.signature_openapi_core, "{}", vector.name);
            if let Some(expected) = vector.expected {
                assert_eq!(signed, expected, "{}", vector.name);
            }
        }
    }

    #[test]
    fn the_string_to_sign_differs_from_the_credentials_library_only_in_spaces() {
        for vector in Vector::all() {
            let ours = vector.string_to_sign();
            let theirs = &vector.string_to_sign_credentials_lib;
            assert_eq!(&ours == theirs, vector.agree, "{}", vector.name);
            assert_eq!(ours.replace("%2520", "%2B"), *theirs, "{}", vector.name);
        }
    }

    #[test]
    fn a_query_keeps_its_order_and_escapes_strictly() {
        let text = query([("b", "a b+c"), ("a", "~*\n/é")]);
        assert_eq!(text, "b=a%20b%2Bc&a=~%2A%0A%2F%C3%A9");
    }
}
