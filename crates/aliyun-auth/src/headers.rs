//! Header and text search for the verification of signatures, on bytes and without hash maps.

use http::HeaderMap;
use http::request::Parts;

/// Headers of a request, found by a linear scan: comparing a dozen short names takes less time than hashing one.
#[derive(Debug)]
pub struct RequestHeaders<'h> {
    scanned: Vec<(&'h str, &'h [u8])>,
    /// A name occurs more than once.
    repeats: bool,
}

impl<'h> RequestHeaders<'h> {
    /// Borrows the headers of a request.
    #[must_use]
    pub fn new(headers: &'h HeaderMap) -> Self {
        let mut scanned = Vec::with_capacity(headers.len() + 1);
        let pairs = headers.iter();
        scanned.extend(pairs.map(|(name, value)| (name.as_str(), value.as_bytes())));
        Self {
            scanned,
            repeats: headers.keys_len() < headers.len(),
        }
    }

    /// Borrows the headers of a request and adds `host` from `:authority` if HTTP/2 carries it there
    /// (RFC 9113 §8.3.1), because every SDK signs `host`.
    #[must_use]
    pub fn of_request(head: &'h Parts) -> Self {
        let mut scanned = Self::new(&head.headers);
        if let Some(authority) = head.uri.authority()
            && scanned.values("host").next().is_none()
        {
            scanned
                .scanned
                .push(("host", authority.as_str().as_bytes()));
        }
        scanned
    }

    /// Iterates over all names, in lower case, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'h str, &'h [u8])> {
        self.scanned.iter().copied()
    }

    /// Iterates over the values of a header in the order of the request; `name` must be in lower case.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'h [u8]> + 's {
        let at = self.scanned.iter().position(|(known, _)| *known == name);
        let (first, rest) = match at {
            Some(at) if self.repeats => (Some(self.scanned[at].1), &self.scanned[at + 1..]),
            Some(at) => (Some(self.scanned[at].1), &[][..]),
            None => (None, &[][..]),
        };
        let others = rest.iter().filter(move |(known, _)| *known == name);
        first.into_iter().chain(others.map(|(_, value)| *value))
    }
}

/// Returns whether any byte satisfies a predicate. It has no early exit, so that the loop is vectorized.
pub(super) fn any_byte(text: &str, is_such: impl Fn(u8) -> bool) -> bool {
    text.bytes()
        .fold(false, |found, byte| found | is_such(byte))
}

/// Splits a text at each occurrence of an ASCII character, like [`str::split`], without decoding characters.
pub fn split(text: &str, between: u8) -> impl Iterator<Item = &str> {
    let ends = memchr::memchr_iter(between, text.as_bytes());
    let mut start = 0;
    ends.chain(std::iter::once(text.len()))
        .filter_map(move |end| {
            let piece = text.get(start..end);
            start = end + 1;
            piece
        })
}

/// Splits a text at the first occurrence of an ASCII character, like [`str::split_once`].
pub(super) fn split_once(text: &str, at: u8) -> Option<(&str, &str)> {
    debug_assert!(at.is_ascii());
    let found = memchr::memchr(at, text.as_bytes())?;
    Some((text.get(..found)?, text.get(found + 1..)?))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_what_the_standard_library_splits(text in "[a;é]{0,12}") {
            prop_assert!(split(&text, b';').eq(text.split(';')));
            prop_assert_eq!(split_once(&text, b';'), text.split_once(';'));
        }
    }

    #[test]
    fn a_byte_is_found_however_often_it_occurs() {
        for (text, is_found) in [("", false), ("ab", false), ("aB", true), ("AbC", true)] {
            let found = any_byte(text, |byte| byte.is_ascii_uppercase());
            assert_eq!(found, is_found, "{text}");
        }
    }

    #[test]
    fn each_value_of_a_name_is_found_in_its_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let scanned = RequestHeaders::new(&headers);
        let values = |name| scanned.values(name).collect::<Vec<_>>();
        assert_eq!(values("a"), [b"1", b"3"]);
        assert!(values("c").is_empty());
    }

    #[test]
    fn the_authority_stands_for_the_host_where_there_is_none() {
        let hosts = |host: Option<&str>, target: &str| {
            let mut request = Request::get(target);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let scanned = RequestHeaders::of_request(&head);
            scanned
                .values("host")
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
        };
        assert_eq!(hosts(None, "https://a.example:8443/x"), [b"a.example:8443"]);
        assert_eq!(
            hosts(Some("b.example"), "http://a.example/x"),
            [b"b.example"]
        );
        assert!(hosts(None, "/x").is_empty());
    }
}
