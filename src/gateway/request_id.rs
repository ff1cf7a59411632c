//! The gateway's own id of a response.

use bytes::Bytes;
use http::HeaderValue;

/// A random id, as a number until its text is needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId(u128);

/// Text of an id in the API's form, `5A14FA81-DD4E-4F3B-8B1A-6343FE44B941`, without an allocation.
#[derive(Debug)]
pub(super) struct RequestIdText([u8; 36]);

impl RequestId {
    pub(super) fn new() -> Self {
        Self(fastrand::u128(..))
    }

    pub(super) fn text(self) -> RequestIdText {
        const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
        const PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let mut text = [b'-'; 36];
        for (at, byte) in PAIRS.into_iter().zip(self.0.to_ne_bytes()) {
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
        }
        RequestIdText(text)
    }
}

impl RequestIdText {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and hyphens are UTF-8")
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&self.0))
            .expect("digits and hyphens make a header")
    }
}

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn ids_have_the_apis_form_and_differ() {
        let (one, other) = (RequestId::new().text(), RequestId::new().text());
        assert_ne!(one.as_str(), other.as_str());
        let groups: Vec<usize> = one.as_str().split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(one.to_header(), one.as_str());
    }
}
