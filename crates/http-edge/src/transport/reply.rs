//! Whole responses, and the headers of the vendor's API in them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;

use super::{Connection, TransportError, decode};
use host::error_chain::error_chain;

/// Whole response, with its content encoding undone.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code, unvalidated.
    pub status: u16,
    /// Headers, without `Content-Encoding`.
    pub headers: HeaderMap,
    /// Body, decoded.
    pub body: Bytes,
    /// Connection that it was received on.
    pub connection: Connection,
}

impl Reply {
    /// Returns the `Date` header; `None` where it is absent or malformed.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        let date = httpdate::parse_http_date(self.header(header::DATE.as_str())).ok()?;
        Timestamp::try_from(date).ok()
    }

    /// Returns the API's request id; empty where the response has none.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.header("x-acs-request-id")
    }

    /// Returns whether the vendor's SDKs treat the response as a throttle, whatever its status.
    #[must_use]
    pub fn is_throttle(&self) -> bool {
        self.vendors_retry_after().is_some()
    }

    /// Returns the time to wait that the vendor's header states, or else the standard one (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.vendors_retry_after()
            .or_else(|| self.standard_retry_after())
    }

    /// Parses `x-acs-retry-after`, a positive whole number of milliseconds.
    fn vendors_retry_after(&self) -> Option<Duration> {
        let milliseconds: u64 = self.header("x-acs-retry-after").parse().ok()?;
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    }

    /// Parses `Retry-After`: seconds, or a date, from which the response's own `Date` is subtracted.
    fn standard_retry_after(&self) -> Option<Duration> {
        let text = self.header(header::RETRY_AFTER.as_str());
        let wait = match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let until = httpdate::parse_http_date(text).ok()?;
                let date = self.header(header::DATE.as_str());
                until
                    .duration_since(httpdate::parse_http_date(date).ok()?)
                    .ok()?
            }
        };
        (!wait.is_zero()).then_some(wait)
    }

    /// Returns a header's text; empty where it is absent or not visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// Returns all values of a list header, joined with commas (RFC 9110 §5.3), without those that are not visible
    /// ASCII.
    #[must_use]
    pub fn list(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter();
        let texts: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
        texts.join(", ")
    }
}

/// Reads the whole body, at most `limit` bytes, and decodes it.
pub(super) async fn collect(
    response: Response<Incoming>,
    connection: Connection,
    limit: usize,
) -> Result<Reply, TransportError> {
    let (parts, body) = response.into_parts();
    let body = match unframed_length(&parts.headers) {
        Framing::Http => whole(body, limit).await?,
        Framing::Length(length) if length > limit => return Err(TransportError::TooLong),
        Framing::Length(length) => exactly(body, length).await?,
        Framing::Contradictory => {
            return Err(TransportError::Connection(
                "the response states two lengths".to_owned(),
            ));
        }
    };
    // A server that closes an idle connection may send 408 first, which crosses the request on its way.
    if parts.status == StatusCode::REQUEST_TIMEOUT && connection.answers() > 1 {
        return Err(TransportError::Stale("status 408".to_owned()));
    }
    let reply = Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        connection,
    };
    decode::decode(reply, limit).await
}

/// Source of the position where a body ends.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    /// Rules of RFC 9112 §6.3, which hyper implements.
    Http,
    /// `Content-Length` beside `Transfer-Encoding: identity`, with which hyper would wait for the end of the
    /// connection. RFC 2616 defined this coding as none; RFC 7230 removed it.
    Length(usize),
    /// Different lengths beside `Transfer-Encoding: identity`.
    Contradictory,
}

fn unframed_length(headers: &HeaderMap) -> Framing {
    let codings = headers.get_all(header::TRANSFER_ENCODING);
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_identity = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or("unreadable");
        let mut codings = value.split(',').map(str::trim);
        codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
    };
    let coded = codings.iter().next().is_some();
    if !coded || !codings.iter().all(is_identity) {
        return Framing::Http;
    }
    let Some(first) = lengths.next() else {
        return Framing::Http;
    };
    let text = first.to_str().unwrap_or("").trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(length) if digits && lengths.all(|other| other == first) => Framing::Length(length),
        _ => Framing::Contradictory,
    }
}

async fn whole(body: Incoming, limit: usize) -> Result<Bytes, TransportError> {
    let collected = Limited::new(body, limit).collect().await;
    let collected = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            TransportError::TooLong
        } else {
            TransportError::Connection(error_chain(&*error))
        }
    })?;
    Ok(collected.to_bytes())
}

/// Reads this many bytes of a body that hyper believes to be without end. Dropping the rest closes the connection.
async fn exactly(mut body: Incoming, length: usize) -> Result<Bytes, TransportError> {
    let mut read = Vec::new();
    while read.len() < length {
        let Some(frame) = body.frame().await else {
            return Err(TransportError::Connection(
                "the response ended before its length".to_owned(),
            ));
        };
        let frame = frame.map_err(|error| TransportError::Connection(error_chain(&error)))?;
        if let Ok(data) = frame.into_data() {
            let wanted = data.len().min(length - read.len());
            read.extend_from_slice(&data[..wanted]);
        }
    }
    Ok(read.into())
}
