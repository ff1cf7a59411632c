//! Checks of a request's head that keep a proxy in front and the gateway from reading different requests. hyper
//! judges the length of a body: it rejects an ambiguous one, and closes the connection after a body with both a
//! length and chunks (RFC 9112 §6.1). It accepts any list of encodings that ends with `chunked`; proxies differ in
//! such lists, so that here only `chunked` alone passes.

use http::Version;
use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http_body::Body;

/// Error of a request's head that a proxy in front may read differently; the text says what must be there instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AmbiguousHead(&'static str);

/// Refuses a head without one Host, as HTTP/1.1 needs it (RFC 9112 §3.2), whatever its value: SDKs write there what
/// their user gave as endpoint. Refuses every Transfer-Encoding but one `chunked` (RFC 9112 §6.1, §7).
///
/// # Errors
/// [`AmbiguousHead`] with what must be there instead.
pub(super) fn check(head: &Parts, body: &impl Body) -> Result<(), AmbiguousHead> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::HTTP_11 => {
            return Err(AmbiguousHead("there must be a Host header"));
        }
        (_, Some(_)) => return Err(AmbiguousHead("there must be one Host header")),
        (_, None) => {}
    }
    // hyper gives every request with a Transfer-Encoding a body of unknown length, or rejects it.
    if body.is_end_stream() {
        return Ok(());
    }
    let mut encodings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(AmbiguousHead(
            "the only Transfer-Encoding must be one chunked",
        )),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Full;

    use super::*;

    fn with(lines: &[(&str, &str)]) -> bool {
        let mut request = Request::new(Full::<Bytes>::from("body"));
        for (name, value) in lines {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let (head, body) = request.into_parts();
        check(&head, &body).is_ok()
    }

    #[test]
    fn one_chunked_is_the_only_transfer_encoding() {
        let host = ("host", "g");
        assert!(with(&[host]));
        for good in ["chunked", "Chunked", "CHUNKED"] {
            assert!(with(&[host, ("transfer-encoding", good)]), "{good}");
        }
        for bad in [
            "",
            "identity",
            "gzip",
            "gzip, chunked",
            "identity, chunked",
            "chunked, chunked",
            "chunked,",
            ", chunked",
            "chunked;q=1",
            "\"chunked\"",
            "chunked\tchunked",
        ] {
            assert!(!with(&[host, ("transfer-encoding", bad)]), "{bad}");
        }
        for (first, second) in [("chunked", "chunked"), ("gzip", "chunked"), ("", "chunked")] {
            let lines = [first, second].map(|value| ("transfer-encoding", value));
            assert!(!with(&[host, lines[0], lines[1]]), "{first}, {second}");
        }
    }
}
