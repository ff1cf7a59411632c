//! Encodings that a path may have had when it was signed.
//!
//! HTTP libraries of the SDKs rewrite escapes after signing. A received path is therefore tried in three encodings: by
//! RFC 3986, by JavaScript's `encodeURIComponent`, and as received.

use std::borrow::Cow;

use pai_api::RESERVED;
use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};

use super::headers::any_byte;

const JAVASCRIPT: &AsciiSet = &RESERVED
    .remove(b'!')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Returns the encodings of a path; only the received one if no other can differ from it.
pub(super) fn path_encodings(path: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let others = (!needs_no_escape(path))
        .then(|| [reencode(path, RESERVED), reencode(path, JAVASCRIPT)].map(Cow::Owned));
    others
        .into_iter()
        .flatten()
        .chain(std::iter::once(Cow::Borrowed(path)))
}

/// Returns whether all encodings of a path are the same: it has only unreserved characters and slashes.
fn needs_no_escape(path: &str) -> bool {
    !any_byte(path, |byte| !(is_unreserved(byte) || byte == b'/'))
}

/// Returns whether a byte is an unreserved character, which never needs an escape (RFC 3986 §2.3).
pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

fn reencode(path: &str, escaped: &'static AsciiSet) -> String {
    let segments = path.split('/').map(|segment| {
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        utf8_percent_encode(&decoded, escaped).to_string()
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::path_encodings;

    #[test]
    fn a_plain_path_has_one_encoding_and_others_three() {
        let all = |path| path_encodings(path).map(String::from).collect::<Vec<_>>();
        assert_eq!(
            all("/api/v1/images/image-1_~."),
            ["/api/v1/images/image-1_~."]
        );
        assert_eq!(
            all("/it%27s(!)*"),
            ["/it%27s%28%21%29%2A", "/it's(!)%2A", "/it%27s(!)*"]
        );
    }
}
