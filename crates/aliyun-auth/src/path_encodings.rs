//! How a path may have been spelled when it was signed.
//!
//! The SDKs' HTTP libraries rewrite escapes after signing, so what came over the wire is tried as
//! RFC 3986 spells it, as JavaScript's `encodeURIComponent` does, and as it came.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};

use super::headers::any_byte;
use pai_api::RESERVED;

const JAVASCRIPT: &AsciiSet = &RESERVED
    .remove(b'!')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The encodings of a path, one where all are the same.
pub(super) fn path_encodings(path: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let others = (!needs_no_escape(path))
        .then(|| [reencode(path, RESERVED), reencode(path, JAVASCRIPT)].map(Cow::Owned));
    others
        .into_iter()
        .flatten()
        .chain(std::iter::once(Cow::Borrowed(path)))
}

/// Whether no escape could be written in another way: nothing but unreserved characters (RFC 3986
/// §2.3) and slashes.
fn needs_no_escape(path: &str) -> bool {
    !any_byte(path, |byte| !(is_unreserved(byte) || byte == b'/'))
}

/// Whether a character never needs an escape (RFC 3986 §2.3).
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
    fn a_plain_path_has_one_spelling_and_others_three() {
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
