//! Checking an ACS3 signature from what came over the wire.

use std::borrow::Cow;

use super::headers::{RequestHeaders, any_byte, split, split_once};
use super::path_encodings::{is_unreserved, path_encodings};
use super::{Algorithm, VerifyingKey, hex};
use pai_api::Query;

/// An `Authorization` header taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// The algorithm it names.
    pub algorithm: Algorithm,
    /// The access key's id.
    pub access_key_id: &'a str,
    /// The names the signature covers, `;`-separated.
    pub signed_headers: &'a str,
    signature: &'a str,
}

/// Why a signature was refused. It never says what the right one would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The header is not `ACS3-HMAC-SHA256 Credential=…,SignedHeaders=…,Signature=…`, nor the same
    /// with `ACS3-HMAC-SM3`.
    #[error("the Authorization header is not of the form ACS3 asks for")]
    Unreadable,
    /// A header that the signature claims to cover is not there.
    #[error("a signed header is missing")]
    MissingHeader,
    /// The signature is of something else, or by another key.
    #[error("the signature does not match")]
    Mismatch,
}

impl<'a> Authorization<'a> {
    /// Takes the header apart.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for another algorithm or another form.
    pub fn parse(header: &'a str) -> Result<Self, VerifyError> {
        let (name, fields) = split_once(header, b' ').ok_or(VerifyError::Unreadable)?;
        let mut known = Algorithm::ALL.into_iter();
        let algorithm = known
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(VerifyError::Unreadable)?;
        let (mut id, mut headers, mut signature) = (None, None, None);
        for field in split(fields, b',') {
            let (name, value) = split_once(field.trim(), b'=').ok_or(VerifyError::Unreadable)?;
            let slot = match name {
                "Credential" => &mut id,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(VerifyError::Unreadable),
            };
            if slot.replace(value).is_some() {
                return Err(VerifyError::Unreadable);
            }
        }
        match (id, headers, signature) {
            (Some(access_key_id), Some(signed_headers), Some(signature)) => Ok(Self {
                algorithm,
                access_key_id,
                signed_headers,
                signature,
            }),
            _ => Err(VerifyError::Unreadable),
        }
    }

    /// The signature as bytes; one signed request has one, whatever the case of its digits.
    #[must_use]
    pub fn signature(&self) -> Option<[u8; 32]> {
        unhex(self.signature)
    }
}

/// Checks a signature over a request as it was received.
///
/// `path` and `query` are the raw ones; see the module `spelling` for the paths that are tried.
/// `payload_hash` is the hash that the signature covers; whether it is the body's is the caller's to
/// check.
///
/// # Errors
/// [`VerifyError`]; comparison takes the same time whatever the difference.
pub fn verify(
    method: &str,
    (path, query): (&str, &str),
    headers: &RequestHeaders<'_>,
    payload_hash: &str,
    authorization: &Authorization<'_>,
    key: &VerifyingKey,
) -> Result<(), VerifyError> {
    let claimed = authorization.signature().ok_or(VerifyError::Mismatch)?;
    let algorithm = authorization.algorithm;
    let rest = canonical_tail(query, headers, payload_hash, authorization.signed_headers)?;
    let genuine = path_encodings(path).any(|path| {
        let path = if path.is_empty() { "/" } else { &path };
        let [method, path] = [method, path].map(str::as_bytes);
        let canonical = [method, b"\n", path, b"\n", &rest].concat();
        let text = [algorithm.as_str(), "\n", &hex(&algorithm.hash(&canonical))].concat();
        key.is_genuine(algorithm, text.as_bytes(), &claimed)
    });
    if genuine {
        Ok(())
    } else {
        Err(VerifyError::Mismatch)
    }
}

/// The canonical request from its query on, in one piece: it is the same for every spelling of the path.
/// Bytes, for what nobody reads as text need not be looked at as text.
fn canonical_tail(
    query: &str,
    headers: &RequestHeaders<'_>,
    payload_hash: &str,
    names: &str,
) -> Result<Vec<u8>, VerifyError> {
    let names = SignedNames::parse(names)?;
    let mut text = Vec::with_capacity(1024);
    text.extend(canonical_query(query)?.as_bytes());
    text.push(b'\n');
    for name in &names.each {
        text.extend(name.as_bytes());
        text.push(b':');
        push_values(&mut text, headers, name)?;
        text.push(b'\n');
    }
    for part in ["\n", &names.joined, "\n", payload_hash] {
        text.extend(part.as_bytes());
    }
    Ok(text)
}

/// A parameter that needs no escape is canonical as it came, but for the `=` of an empty value.
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

/// The values of one header: trimmed, and where there are several, sorted and joined by commas.
fn push_values(
    text: &mut Vec<u8>,
    headers: &RequestHeaders<'_>,
    name: &str,
) -> Result<(), VerifyError> {
    let mut values = headers.values(name);
    let first = trimmed(values.next().ok_or(VerifyError::MissingHeader)?)?;
    let Some(second) = values.next() else {
        text.extend(first);
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

/// Without the white space around it, which in a text beyond ASCII may be beyond ASCII too.
fn trimmed(bytes: &[u8]) -> Result<&[u8], VerifyError> {
    if bytes.is_ascii() {
        return Ok(bytes.trim_ascii());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| VerifyError::Mismatch)?;
    Ok(text.trim().as_bytes())
}

/// The names of the signed headers, in lower case, sorted, each once.
#[derive(Debug)]
struct SignedNames<'a> {
    each: Vec<Cow<'a, str>>,
    /// With `;` between them.
    joined: Cow<'a, str>,
}

impl<'a> SignedNames<'a> {
    fn parse(names: &'a str) -> Result<Self, VerifyError> {
        let mut each = Vec::with_capacity(16);
        each.extend(split(names, b';').map(Cow::Borrowed));
        let mut joined = Cow::Borrowed(names);
        let in_order = |each: &[Cow<'_, str>]| each.is_sorted_by(|one, next| one < next);
        // Every SDK sends them so.
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

/// What each character is worth as a hexadecimal digit; 255 for none.
const HEX_VALUES: [u8; 256] = {
    let (mut values, mut digit) = ([u8::MAX; 256], 0);
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// 32 bytes from 64 hexadecimal digits.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    let mut all = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| HEX_VALUES[usize::from(digit)]);
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all < 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};
    use proptest::prelude::*;

    use super::*;
    use crate::{Credentials, authorization, canonical_request};

    #[test]
    fn authorization_headers_are_read_strictly() {
        let good = "ACS3-HMAC-SHA256 Credential=AK,SignedHeaders=host;x-acs-date,Signature=00";
        let parsed = Authorization::parse(good).unwrap();
        assert_eq!(
            (
                parsed.access_key_id,
                parsed.signed_headers,
                parsed.signature
            ),
            ("AK", "host;x-acs-date", "00")
        );
        assert_eq!(parsed.algorithm, Algorithm::Sha256);
        let sm3 = good.replace("SHA256", "SM3");
        let parsed = Authorization::parse(&sm3).unwrap();
        assert_eq!(parsed.algorithm, Algorithm::Sm3);
        for bad in [
            "",
            "ACS3-RSA-SHA256 Credential=AK,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256Credential=AK,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256 Credential=AK,SignedHeaders=host",
            "ACS3-HMAC-SHA256 Credential=AK,Credential=B,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256 Credential=AK,SignedHeaders=host,Signature=00,X=1",
            "acs AK:c2ln",
        ] {
            assert_eq!(
                Authorization::parse(bad),
                Err(VerifyError::Unreadable),
                "{bad}"
            );
        }
    }

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
        fn what_was_signed_is_accepted_and_nothing_else(
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

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        let zeros = "0".repeat(62);
        let with = |last: &str| unhex(&format!("{zeros}{last}")).map(|bytes| bytes[31]);
        for (digits, value) in [("00", 0), ("0f", 15), ("A5", 165), ("a5", 165), ("ff", 255)] {
            assert_eq!(with(digits), Some(value), "{digits}");
        }
        for bad in ["0g", "g0", "gg", "0", "000", "\u{e9}", " 0", "-1", "0x"] {
            assert_eq!(with(bad), None, "{bad}");
        }
    }
}
