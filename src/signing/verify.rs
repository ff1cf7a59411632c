//! Checking an ACS3 signature from what came over the wire.

use aws_lc_rs::hmac;
use http::HeaderMap;
use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::{ALGORITHM, canonical_request, string_to_sign};
use crate::api::{Query, RESERVED};

/// An `Authorization` header taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// The access key's id.
    pub access_key_id: &'a str,
    /// The names the signature covers, `;`-separated.
    pub signed_headers: &'a str,
    signature: &'a str,
}

/// Why a signature was refused. It never says what the right one would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The header is not `ACS3-HMAC-SHA256 Credential=…,SignedHeaders=…,Signature=…`.
    #[error("the Authorization header is not of the form ACS3-HMAC-SHA256 asks for")]
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
    /// [`Refused::Unreadable`] for another algorithm or another form.
    pub fn parse(header: &'a str) -> Result<Self, Refused> {
        let fields = header
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or(Refused::Unreadable)?;
        let (mut id, mut headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or(Refused::Unreadable)?;
            let slot = match name {
                "Credential" => &mut id,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(Refused::Unreadable),
            };
            if slot.replace(value).is_some() {
                return Err(Refused::Unreadable);
            }
        }
        match (id, headers, signature) {
            (Some(access_key_id), Some(signed_headers), Some(signature)) => Ok(Self {
                access_key_id,
                signed_headers,
                signature,
            }),
            _ => Err(Refused::Unreadable),
        }
    }
}

/// Checks a signature over a request as it was received.
///
/// `path` and `query` are the raw ones. The SDKs' HTTP libraries rewrite escapes after signing, so the
/// path is tried in three spellings: RFC 3986, JavaScript's `encodeURIComponent` and as it came.
/// `payload_hash` is the hash of the body that was read, not the one the client claims.
///
/// # Errors
/// [`Refused`]; comparison takes the same time whatever the difference.
pub fn verify(
    method: &str,
    (path, query): (&str, &str),
    headers: &HeaderMap,
    payload_hash: &str,
    authorization: &Authorization<'_>,
    secret: &SecretString,
) -> Result<(), Refused> {
    let signed = signed_headers(headers, authorization.signed_headers)?;
    let query = Query::parse(query)
        .map_err(|_| Refused::Mismatch)?
        .canonical();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let claimed = unhex(authorization.signature).ok_or(Refused::Mismatch)?;
    let genuine = path_spellings(path).iter().any(|path| {
        let (canonical, _) =
            canonical_request(method, path, &query, signed.iter().copied(), payload_hash);
        hmac::verify(&key, string_to_sign(&canonical).as_bytes(), &claimed).is_ok()
    });
    if genuine {
        Ok(())
    } else {
        Err(Refused::Mismatch)
    }
}

fn signed_headers<'a>(
    headers: &'a HeaderMap,
    names: &'a str,
) -> Result<Vec<(&'a str, &'a str)>, Refused> {
    let mut signed = Vec::new();
    for name in names.split(';') {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek().ok_or(Refused::MissingHeader)?;
        for value in values {
            signed.push((
                name,
                std::str::from_utf8(value.as_bytes()).map_err(|_| Refused::Mismatch)?,
            ));
        }
    }
    Ok(signed)
}

fn path_spellings(path: &str) -> [String; 3] {
    const JAVASCRIPT: &AsciiSet = &RESERVED
        .remove(b'!')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')');
    let respell = |set| {
        let segments = path.split('/').map(|segment| {
            let decoded = percent_decode_str(segment).decode_utf8_lossy().into_owned();
            utf8_percent_encode(&decoded, set).to_string()
        });
        segments.collect::<Vec<_>>().join("/")
    };
    [respell(RESERVED), respell(JAVASCRIPT), path.to_owned()]
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for bad in [
            "",
            "ACS3-HMAC-SM3 Credential=AK,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256Credential=AK,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256 Credential=AK,SignedHeaders=host",
            "ACS3-HMAC-SHA256 Credential=AK,Credential=B,SignedHeaders=host,Signature=00",
            "ACS3-HMAC-SHA256 Credential=AK,SignedHeaders=host,Signature=00,X=1",
            "acs AK:c2ln",
        ] {
            assert_eq!(Authorization::parse(bad), Err(Refused::Unreadable), "{bad}");
        }
    }
}
