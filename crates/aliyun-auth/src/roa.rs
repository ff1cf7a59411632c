//! ROA v2 (HMAC-SHA1), the older signature: alipai always uses it, and `signature_algorithm="v2"` selects it in the
//! SDKs.
//!
//! ```text
//! string to sign = METHOD \n accept \n content-md5 \n content-type \n date \n
//!                  "name:value\n" of every x-acs- header, sorted
//!                  path[?name=value&… sorted, not escaped]
//! ```
//!
//! The signature covers neither the host nor the body, so a caller must trust the connection for a write.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use pai_api::Query;

use super::path_encodings::path_encodings;
use super::{VerifyError, VerifyingKey};

/// Parsed value of an `Authorization` header in the form `acs KEY:SIGNATURE`. The signature is not verified yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoaAuthorization<'a> {
    /// Id of the access key.
    pub access_key_id: &'a str,
    signature: &'a str,
}

impl<'a> RoaAuthorization<'a> {
    /// Parses the value of a header.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for another form.
    pub fn parse(header: &'a str) -> Result<Self, VerifyError> {
        let (access_key_id, signature) = header
            .strip_prefix("acs ")
            .and_then(|rest| rest.split_once(':'))
            .filter(|(id, signature)| !id.is_empty() && !signature.is_empty())
            .ok_or(VerifyError::Unreadable)?;
        Ok(Self {
            access_key_id,
            signature,
        })
    }

    /// Returns the decoded signature.
    ///
    /// # Errors
    /// [`VerifyError::Mismatch`] unless it is base64.
    pub fn signature(&self) -> Result<Vec<u8>, VerifyError> {
        let decoded = BASE64_STANDARD.decode(self.signature);
        decoded.map_err(|_| VerifyError::Mismatch)
    }
}

/// Returns whether a query has one meaning after decoding. ROA v2 signs the decoded query, so `?a=1%26b=2` and
/// `?a=1&b=2` have the same signature, and an attacker could replace one by the other. A value may contain `=`,
/// because the first one of a pair ends its name.
///
/// # Errors
/// [`VerifyError::Mismatch`] if the query cannot be decoded.
pub fn is_unambiguous(query: &str) -> Result<bool, VerifyError> {
    let query = Query::parse(query).map_err(|_| VerifyError::Mismatch)?;
    let mut pairs = query.pairs();
    Ok(pairs.all(|(name, value)| !name.contains(['&', '=']) && !value.contains('&')))
}

/// Returns the string to sign. `resource` is the path with its decoded query, and a missing header counts as empty.
/// `content_type` is a parameter of its own because not every client signs the one that it sends.
#[must_use]
pub fn string_to_sign(
    method: &str,
    headers: &HeaderMap,
    content_type: &str,
    resource: &str,
) -> String {
    let value = |name| {
        let value = headers.get(name);
        value.map_or("", |value| {
            std::str::from_utf8(value.as_bytes()).unwrap_or("\u{0}")
        })
    };
    let mut text = [
        method,
        value("accept"),
        value("content-md5"),
        content_type,
        value("date"),
        "",
    ]
    .join("\n");
    let mut signed: Vec<(&str, &[u8])> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-acs-"))
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    signed.sort_unstable();
    for (name, value) in signed {
        text.extend([name, ":", &String::from_utf8_lossy(value), "\n"]);
    }
    text.push_str(resource);
    text
}

/// Verifies a signature over a request as it was received; `path` and `query` are still percent-encoded.
///
/// Without a body, a `content-type` may be signed or not: Python's asynchronous SDK adds one after signing.
///
/// # Errors
/// [`VerifyError::Mismatch`]. Each comparison takes constant time.
pub fn verify(
    method: &str,
    (path, query): (&str, &str),
    headers: &HeaderMap,
    has_body: bool,
    authorization: &RoaAuthorization<'_>,
    key: &VerifyingKey,
) -> Result<(), VerifyError> {
    let claimed = authorization.signature()?;
    let query = Query::parse(query).map_err(|_| VerifyError::Mismatch)?;
    let sent = headers.get("content-type");
    let sent = sent.map_or(Ok(""), |value| {
        value.to_str().map_err(|_| VerifyError::Mismatch)
    })?;
    let without = (!has_body && !sent.is_empty()).then_some("");
    let genuine = path_encodings(path).any(|path| {
        resources(&path, &query).iter().any(|resource| {
            [Some(sent), without]
                .into_iter()
                .flatten()
                .any(|content_type| {
                    let text = string_to_sign(method, headers, content_type, resource);
                    hmac::verify(&key.sha1, text.as_bytes(), &claimed).is_ok()
                })
        })
    });
    if genuine {
        Ok(())
    } else {
        Err(VerifyError::Mismatch)
    }
}

/// Returns the resource in both encodings of an empty value: Python writes the bare name, Node `name=`.
fn resources(path: &str, query: &Query) -> Vec<String> {
    let mut pairs: Vec<(&str, &str)> = query.pairs().collect();
    pairs.sort_unstable();
    let encode = |empty: &str| {
        let written = pairs.iter().map(|(name, value)| match *value {
            "" => format!("{name}{empty}"),
            value => format!("{name}={value}"),
        });
        let written = written.collect::<Vec<_>>().join("&");
        let joint = if written.is_empty() { "" } else { "?" };
        format!("{path}{joint}{written}")
    };
    let mut encodings = vec![encode("")];
    if pairs.iter().any(|(_, value)| value.is_empty()) {
        encodings.push(encode("="));
    }
    encodings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_signs_like_another_is_ambiguous() {
        for (query, unambiguous) in [
            ("", true),
            ("Labels=system.official%3Dtrue%2Ca=b&Name=x", true),
            ("Name&Options=", true),
            ("Name=a%26WorkspaceId%3D2", false),
            ("Name%3Da=b", false),
            ("Name%26a=b", false),
        ] {
            assert_eq!(is_unambiguous(query), Ok(unambiguous), "{query}");
        }
        assert_eq!(is_unambiguous("Name=%zz"), Err(VerifyError::Mismatch));
    }

    #[test]
    fn authorization_headers_are_read_strictly() {
        let parsed = RoaAuthorization::parse("acs AK:c2ln").unwrap();
        assert_eq!((parsed.access_key_id, parsed.signature), ("AK", "c2ln"));
        for bad in [
            "",
            "acs",
            "acs ",
            "acs AK",
            "acs :c2ln",
            "acs AK:",
            "ACS AK:c2ln",
            "acsAK:x",
        ] {
            assert_eq!(
                RoaAuthorization::parse(bad),
                Err(VerifyError::Unreadable),
                "{bad}"
            );
        }
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        name: String,
        method: String,
        path: String,
        query: Vec<(String, String)>,
        headers: Vec<(String, String)>,
        body_hex: String,
        access_key_secret: String,
        signature: String,
        authorization: String,
    }

    /// Signatures by the vendor's SDKs. A `content-type` that was not signed is passed over where there is no body.
    #[test]
    fn the_vendors_signatures_are_genuine_and_cover_what_they_should() {
        let text = include_str!("../../../tests/vectors/roa_v2.json");
        for vector in serde_json::from_str::<Vec<Vector>>(text).unwrap() {
            let query = vector.query.iter().cloned().collect::<Query>().canonical();
            let parsed = RoaAuthorization::parse(&vector.authorization).unwrap();
            let signature = BASE64_STANDARD.encode(parsed.signature().unwrap());
            assert_eq!(signature, vector.signature);
            let key = VerifyingKey::new(&vector.access_key_secret.clone().into());
            let has_body = !vector.body_hex.is_empty();
            let check = |has_body, headers: &HeaderMap| {
                let target = (vector.path.as_str(), query.as_str());
                verify(&vector.method, target, headers, has_body, &parsed, &key).is_ok()
            };
            let mut headers: HeaderMap = vector
                .headers
                .iter()
                .map(|(n, v)| (n.parse::<http::HeaderName>().unwrap(), v.parse().unwrap()))
                .collect();
            let name = &vector.name;
            assert!(check(has_body, &headers), "{name}");
            if !headers.contains_key("content-type") {
                headers.insert("content-type", http::HeaderValue::from_static("text/plain"));
                assert!(check(false, &headers) && !check(true, &headers), "{name}");
            }
            headers.insert("x-acs-added", http::HeaderValue::from_static("1"));
            assert!(!check(has_body, &headers), "{name}");
        }
        let broken = RoaAuthorization::parse("acs AK:%").unwrap().signature();
        assert_eq!(broken, Err(VerifyError::Mismatch));
    }
}
