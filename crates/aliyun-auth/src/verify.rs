//! Verification of ACS3 signatures over requests as they were received.

use std::borrow::Cow;

use pai_api::Query;

use super::headers::{RequestHeaders, any_byte, split};
use super::hex::hex_hash;
use super::path_encodings::{is_unreserved, path_encodings};
use super::{Algorithm, Authorization, VerifyingKey};

/// Failure to verify a signature. No variant or text contains the expected signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The header is neither `ACS3-HMAC-SHA256 Credential=…,SignedHeaders=…,Signature=…` nor the same with
    /// `ACS3-HMAC-SM3`.
    #[error("the Authorization header is not of the form ACS3 asks for")]
    Unreadable,
    /// A header that `SignedHeaders` names is missing in the request.
    #[error("a signed header is missing")]
    MissingHeader,
    /// The signature belongs to another request or to another key.
    #[error("the signature does not match")]
    Mismatch,
}

/// Verifies a signature over a request as it was received.
///
/// `path` and `query` are still percent-encoded; the module `path_encodings` lists the paths that are tried.
/// `payload_hash` is the signed hash of the body. The caller must compare it with the body once that has arrived.
///
/// # Errors
/// [`VerifyError`]. Each comparison takes constant time.
pub fn verify(
    method: &str,
    (path, query): (&str, &str),
    headers: &RequestHeaders<'_>,
    payload_hash: &str,
    authorization: &Authorization<'_>,
    key: &VerifyingKey,
) -> Result<(), VerifyError> {
    let claimed = authorization.signature().ok_or(VerifyError::Mismatch)?;
    let names = SignedNames::parse(authorization.signed_headers)?;
    let query = canonical_query(query)?;
    let mut canonical = Vec::with_capacity(TYPICAL_LENGTH);
    for path in path_encodings(path) {
        let path = if path.is_empty() { "/" } else { &path };
        canonical.clear();
        for part in [method, "\n", path, "\n", &query, "\n"] {
            canonical.extend_from_slice(part.as_bytes());
        }
        push_headers(&mut canonical, headers, &names)?;
        canonical.extend_from_slice(payload_hash.as_bytes());
        if is_signed(&canonical, authorization.algorithm, &claimed, key) {
            return Ok(());
        }
    }
    Err(VerifyError::Mismatch)
}

/// Length of most canonical requests, in bytes.
const TYPICAL_LENGTH: usize = 1024;

/// Compares the signature of a canonical request with the claimed one, in constant time.
fn is_signed(
    canonical: &[u8],
    algorithm: Algorithm,
    claimed: &[u8; 32],
    key: &VerifyingKey,
) -> bool {
    let mut text = [0; MAX_TO_SIGN];
    let mut length = 0;
    let hash = hex_hash(&algorithm.hash(canonical));
    for part in [algorithm.as_str().as_bytes(), b"\n", &hash] {
        text[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    key.is_genuine(algorithm, &text[..length], claimed)
}

/// Length of the longest string to sign in bytes: the name of an algorithm, a line feed and a hash.
const MAX_TO_SIGN: usize = Algorithm::Sha256.as_str().len() + 1 + 64;

/// Appends the signed headers, a line each, an empty line, and the names. Bytes, so that values need no check for
/// UTF-8.
fn push_headers(
    text: &mut Vec<u8>,
    headers: &RequestHeaders<'_>,
    names: &SignedNames<'_>,
) -> Result<(), VerifyError> {
    for name in &names.each {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        push_values(text, headers, name)?;
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(names.joined.as_bytes());
    text.push(b'\n');
    Ok(())
}

/// Returns the canonical form of a query, borrowed in the common case of one parameter without escapes.
fn canonical_query(query: &str) -> Result<Cow<'_, str>, VerifyError> {
    let plain = !any_byte(query, |byte| !(is_unreserved(byte) || byte == b'='));
    match query.bytes().filter(|byte| *byte == b'=').count() {
        _ if query.is_empty() => Ok(Cow::Borrowed("")),
        1 if plain => Ok(Cow::Borrowed(query)),
        _ => {
            let query = Query::parse(query).map_err(|_| VerifyError::Mismatch)?;
            Ok(Cow::Owned(query.canonical()))
        }
    }
}

/// Appends the value of one header, trimmed; several values are sorted and joined by commas.
fn push_values(
    text: &mut Vec<u8>,
    headers: &RequestHeaders<'_>,
    name: &str,
) -> Result<(), VerifyError> {
    let mut values = headers.values(name);
    let first = trimmed(values.next().ok_or(VerifyError::MissingHeader)?)?;
    let Some(second) = values.next() else {
        text.extend_from_slice(first);
        return Ok(());
    };
    let mut all = vec![first, trimmed(second)?];
    for value in values {
        all.push(trimmed(value)?);
    }
    all.sort_unstable();
    text.extend(all.join(&b','));
    Ok(())
}

/// Trims white space. In a value that is not ASCII this includes Unicode's white space, as in the SDKs.
fn trimmed(bytes: &[u8]) -> Result<&[u8], VerifyError> {
    if bytes.is_ascii() {
        // hyper has trimmed them already, for HTTP/1 at least.
        return match bytes {
            [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => Ok(bytes),
            _ => Ok(bytes.trim_ascii()),
        };
    }
    let text = std::str::from_utf8(bytes).map_err(|_| VerifyError::Mismatch)?;
    Ok(text.trim().as_bytes())
}

/// Names of the signed headers: in lower case, sorted, without repetitions.
#[derive(Debug)]
struct SignedNames<'a> {
    each: Vec<Cow<'a, str>>,
    /// The names joined by `;`, as the canonical request contains them.
    joined: Cow<'a, str>,
}

impl<'a> SignedNames<'a> {
    fn parse(names: &'a str) -> Result<Self, VerifyError> {
        let mut each = Vec::with_capacity(16);
        each.extend(split(names, b';').map(Cow::Borrowed));
        let mut joined = Cow::Borrowed(names);
        let in_order = |each: &[Cow<'_, str>]| each.is_sorted_by(|one, next| one < next);
        // Every SDK sends them sorted and in lower case, so that nothing is copied.
        let has_upper_case = any_byte(names, |byte| byte.is_ascii_uppercase());
        let is_canonical = in_order(&each) && !has_upper_case;
        if !is_canonical {
            for name in &mut each {
                name.to_mut().make_ascii_lowercase();
            }
            each.sort_unstable();
            joined = Cow::Owned(each.join(";"));
        }
        if in_order(&each) {
            Ok(Self { each, joined })
        } else {
            Err(VerifyError::Mismatch)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};
    use proptest::prelude::*;

    use super::*;
    use crate::{Credentials, authorization, canonical_request};

    /// Whatever the signing side writes is accepted, and nothing that differs in one byte.
    fn check(
        (method, path, query): (&str, &str, &str),
        headers: &[(String, String)],
        change: &dyn Fn(&mut String),
    ) -> (Result<(), VerifyError>, Result<(), VerifyError>) {
        let credentials = Credentials {
            access_key_id: "AK".to_owned(),
            access_key_secret: "secret".into(),
            security_token: None,
        };
        let pairs = headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let canonical_query = Query::parse(query).unwrap().canonical();
        let (canonical, signed) = canonical_request(method, path, &canonical_query, pairs, "hash");
        let genuine = authorization(&canonical, &signed, &credentials);
        let mut changed = canonical;
        change(&mut changed);
        let forged = authorization(&changed, &signed, &credentials);
        let map: HeaderMap = headers
            .iter()
            .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
            .collect();
        let key = VerifyingKey::new(&credentials.access_key_secret);
        let judge = |header: &str| {
            let parsed = Authorization::parse(header).unwrap();
            verify(
                method,
                (path, query),
                &RequestHeaders::new(&map),
                "hash",
                &parsed,
                &key,
            )
        };
        (judge(&genuine), judge(&forged))
    }

    proptest! {
        #[test]
        fn only_the_signed_request_is_accepted(
            path in "(/[a-zA-Z0-9._~-]{0,6}){1,4}",
            query in prop::sample::select(vec!["", "Verbose=True", "b=1&a=%2F+x", "A", "x=y=z", "Options="]),
            headers in prop::collection::btree_map("[a-z][a-z-]{0,10}", "[!-~]([ -~]{0,10}[!-~])?", 1..8),
            at in any::<prop::sample::Index>(),
        ) {
            let headers: Vec<(String, String)> = headers.into_iter().collect();
            let (genuine, forged) = check(("GET", &path, query), &headers, &|text: &mut String| {
                let at = at.index(text.len());
                text.replace_range(at..=at, "\u{1}");
            });
            prop_assert_eq!(genuine, Ok(()));
            prop_assert_eq!(forged, Err(VerifyError::Mismatch));
        }
    }

    #[test]
    fn a_list_that_is_unsorted_is_sorted_and_one_that_repeats_is_refused() {
        let names = |list: &str| {
            let names = SignedNames::parse(list)?;
            assert_eq!(names.joined, names.each.join(";"));
            Ok(names.joined.into_owned())
        };
        assert_eq!(names("a;b"), Ok("a;b".to_owned()));
        assert_eq!(names("b;A"), Ok("a;b".to_owned()));
        for bad in ["a;a", "a;A", "b;a;b"] {
            assert_eq!(names(bad), Err(VerifyError::Mismatch), "{bad}");
        }
    }

    #[test]
    fn a_list_of_names_is_canonical_in_order_and_in_lower_case() {
        for (list, canonical) in [("b;a", "a;b"), ("A;b", "a;b"), ("B;a", "a;b"), ("a", "a")] {
            assert_eq!(
                SignedNames::parse(list).unwrap().joined,
                canonical,
                "{list}"
            );
        }
    }

    /// RFC 3986 §2.1 and §6.2.2: escapes in upper case, and of nothing that is unreserved.
    #[test]
    fn a_query_is_brought_into_its_canonical_form() {
        for (query, canonical) in [
            ("", ""),
            ("Name", "Name="),
            ("Name=a+b", "Name=a%20b"),
            ("Name=%2f", "Name=%2F"),
            ("Name=%41", "Name=A"),
            ("Name=a*", "Name=a%2A"),
            ("b=1&a=2", "a=2&b=1"),
        ] {
            assert_eq!(canonical_query(query).unwrap(), canonical, "{query}");
        }
        assert_eq!(canonical_query("Name=%zz"), Err(VerifyError::Mismatch));
    }
}
