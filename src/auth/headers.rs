//! Headers that authentication reads, found in one pass over those of a request.

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::AuthError;
use crate::signing::{RequestHeaders, split};

/// Header that authentication reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(const_into_str)]
pub(super) enum Header {
    #[strum(serialize = "authorization")]
    Authorization,
    #[strum(serialize = "x-acs-bearer-token")]
    BearerToken,
    #[strum(serialize = "date")]
    HttpDate,
    #[strum(serialize = "x-acs-date")]
    Date,
    #[strum(serialize = "x-acs-signature-nonce")]
    Nonce,
    #[strum(serialize = "x-acs-action")]
    Action,
    #[strum(serialize = "x-acs-version")]
    Version,
    #[strum(serialize = "x-acs-content-sha256")]
    Hash,
    #[strum(serialize = "x-acs-security-token")]
    Token,
}

impl Header {
    /// Returns the name in lower case.
    pub(super) const fn as_str(self) -> &'static str {
        self.into_str()
    }

    fn of(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Values of the headers that authentication reads.
#[derive(Debug)]
pub(super) struct AuthHeaders<'h> {
    values: [Option<&'h [u8]>; Header::VARIANTS.len()],
    /// Bits of the headers that occurred more than once.
    repeated: u16,
}

impl<'h> AuthHeaders<'h> {
    pub(super) fn find(headers: &RequestHeaders<'h>) -> Self {
        let mut found = Self {
            values: [None; Header::VARIANTS.len()],
            repeated: 0,
        };
        for (name, value) in headers.iter() {
            if let Some(header) = Header::of(name)
                && found.values[header as usize].replace(value).is_some()
            {
                found.repeated |= header.bit();
            }
        }
        found
    }

    pub(super) fn has(&self, header: Header) -> bool {
        self.values[header as usize].is_some()
    }

    /// Returns the value of an optional header; an error if it occurs twice or is not ASCII.
    pub(super) fn optional(&self, header: Header) -> Result<Option<&'h str>, AuthError> {
        let Some(value) = self.values[header as usize] else {
            return Ok(None);
        };
        // All bytes at once: `is_ascii` stops at the first that is not, and takes one after the other of a short text.
        let all = value.iter().fold(0, |all, byte| all | byte);
        let text = std::str::from_utf8(value).ok();
        let text = text.filter(|_| all.is_ascii() && self.repeated & header.bit() == 0);
        text.map(|text| Some(text.trim_ascii()))
            .ok_or(AuthError::Unsigned(header.as_str()))
    }

    /// Returns the value of a mandatory header; an error unless it occurs exactly once, in ASCII.
    pub(super) fn required(&self, header: Header) -> Result<&'h str, AuthError> {
        self.optional(header)?
            .ok_or(AuthError::Unsigned(header.as_str()))
    }
}

/// Set of these headers that an ACS3 signature covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedHeaders(u16);

impl SignedHeaders {
    /// Parses the names of `SignedHeaders`; other names are ignored.
    pub(super) fn parse(signed_headers: &str) -> Self {
        let signed = split(signed_headers, b';').filter_map(Header::of);
        Self(signed.fold(0, |bits, header| bits | header.bit()))
    }

    /// Returns the value of a mandatory header that the signature must cover.
    pub(super) fn value<'h>(
        self,
        headers: &AuthHeaders<'h>,
        header: Header,
    ) -> Result<&'h str, AuthError> {
        if self.0 & header.bit() == 0 {
            Err(AuthError::Unsigned(header.as_str()))
        } else {
            headers.required(header)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn each_header_is_found_by_its_name_and_no_other() {
        for (index, header) in Header::VARIANTS.iter().copied().enumerate() {
            assert_eq!(Header::of(header.as_str()), Some(header));
            assert_eq!(header as usize, index);
        }
        assert_eq!(Header::of("x-acs-dates"), None);
    }

    #[test]
    fn repeated_and_non_ascii_headers_are_rejected() {
        let value = HeaderValue::from_static;
        let mut headers = HeaderMap::new();
        headers.append("x-acs-date", value(" today "));
        headers.append("x-acs-version", value("1"));
        headers.append("x-acs-version", value("1"));
        headers.append("x-acs-action", "é".parse().unwrap());
        let headers = RequestHeaders::new(&headers);
        let headers = AuthHeaders::find(&headers);
        assert_eq!(headers.optional(Header::Date), Ok(Some("today")));
        assert_eq!(headers.optional(Header::Nonce), Ok(None));
        for (header, name) in [
            (Header::Version, "x-acs-version"),
            (Header::Action, "x-acs-action"),
        ] {
            assert_eq!(headers.optional(header), Err(AuthError::Unsigned(name)));
        }
        let covered = SignedHeaders::parse("host;x-acs-date");
        assert_eq!(covered.value(&headers, Header::Date), Ok("today"));
        let uncovered = covered.value(&headers, Header::Nonce);
        assert_eq!(uncovered, Err(AuthError::Unsigned("x-acs-signature-nonce")));
    }

    #[test]
    fn a_header_counts_only_where_the_signature_covers_it() {
        let mut headers = HeaderMap::new();
        headers.append("x-acs-signature-nonce", HeaderValue::from_static("n"));
        let headers = RequestHeaders::new(&headers);
        let headers = AuthHeaders::find(&headers);
        assert!(headers.has(Header::Nonce) && !headers.has(Header::Date));
        for (covered, value) in [
            ("x-acs-signature-nonce", Ok("n")),
            (
                "X-Acs-Date;x-acs-signature-nonce;x-acs-signature-nonce",
                Ok("n"),
            ),
            (
                "host;x-acs-date",
                Err(AuthError::Unsigned("x-acs-signature-nonce")),
            ),
            ("", Err(AuthError::Unsigned("x-acs-signature-nonce"))),
        ] {
            let covered_by = SignedHeaders::parse(covered);
            assert_eq!(
                covered_by.value(&headers, Header::Nonce),
                value,
                "{covered}"
            );
        }
    }
}
