//! Stored form of pages and of whole walks, as pure functions.
//!
//! ```text
//! value = magic[5] sum[16] head newline body
//! ```
//!
//! The head is JSON, whose unknown members are ignored; a page's body follows as it came. Times are milliseconds of the
//! server's clock. The sum is the start of a SHA-256 over the key's name and everything behind the sum.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::clock::ClockReading;
use super::super::milliseconds;
use crate::cache::catalogue::PageAnswer;
use crate::cache::record;
use crate::upstream::UpstreamFreshness;

/// The digit is the version of the format.
const MAGIC: &[u8; 5] = b"PAIW1";
const SUM: usize = 16;

/// Description of a whole walk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredWalk {
    /// Token of the lease, and the number of the walk: together they name its pages.
    pub(super) token: String,
    pub(super) walk: u64,
    pub(super) pages: u64,
    pub(super) is_steady: bool,
    /// The origin denied the list; there are no pages then.
    pub(super) is_denied: bool,
    /// Time at which its first page was asked for.
    pub(super) started: u64,
    /// Time of the announcement.
    pub(super) ended: u64,
}

/// Times and headers of a page.
#[derive(Debug, Serialize, Deserialize)]
struct PageHead {
    sent: u64,
    /// Milliseconds until the page was there, rather too many than too few.
    took: u64,
    received: i64,
    date: Option<i64>,
    cache_control: String,
    request_id: Option<String>,
    request_id_header: Option<String>,
    /// Initial age, time left and reason of the cache that sent the page, in seconds.
    age: u64,
    left: Option<i64>,
    reason: Option<String>,
}

pub(super) fn encode_walk(name: &str, walk: &StoredWalk) -> Option<Vec<u8>> {
    encode(name, walk, b"")
}

/// Decodes a walk; `None` for what is foreign, damaged or of another version.
pub(super) fn decode_walk(name: &str, value: &Bytes) -> Option<StoredWalk> {
    decode(name, value).map(|(walk, _)| walk)
}

pub(super) fn encode_page(
    name: &str,
    page: &PageAnswer,
    body: &[u8],
    clock: &ClockReading,
) -> Option<Vec<u8>> {
    let header = page.request_id_header.as_ref();
    let head = PageHead {
        sent: clock.server_time(page.sent),
        took: milliseconds(page.took + clock.uncertainty()) + 1,
        received: page.received.as_millisecond(),
        date: page.date.map(Timestamp::as_millisecond),
        cache_control: page.cache_control.clone(),
        request_id: page.request_id.clone(),
        request_id_header: header.and_then(|id| id.to_str().ok()).map(str::to_owned),
        age: page.upstream.initial_age().as_secs(),
        left: page.upstream.left(),
        reason: page
            .upstream
            .stale_reason()
            .map(|reason| reason.as_str().to_owned()),
    };
    encode(name, &head, body)
}

/// Decodes a page; `None` for what is foreign, damaged or of another version.
pub(super) fn decode_page(
    name: &str,
    value: &Bytes,
    clock: &ClockReading,
) -> Option<(PageAnswer, Bytes)> {
    let (head, body): (PageHead, _) = decode(name, value)?;
    let reason = match &head.reason {
        Some(reason) => Some(reason.parse().ok()?),
        None => None,
    };
    let time = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
    let page = PageAnswer {
        request_id: head.request_id,
        request_id_header: head
            .request_id_header
            .and_then(|id| HeaderValue::try_from(id).ok()),
        sent: clock.local_time(head.sent)?,
        took: Duration::from_millis(head.took) + clock.uncertainty(),
        received: time(head.received)?,
        date: head.date.and_then(time),
        cache_control: head.cache_control,
        upstream: UpstreamFreshness::new(Duration::from_secs(head.age), head.left, reason),
    };
    Some((page, body))
}

fn encode(name: &str, head: &impl Serialize, body: &[u8]) -> Option<Vec<u8>> {
    let mut content = serde_json::to_vec(head).ok()?;
    content.push(b'\n');
    content.extend(body);
    let sum: [u8; SUM] = record::sum(&[name.as_bytes(), &content]);
    Some([MAGIC, &sum[..], &content].concat())
}

fn decode<T: DeserializeOwned>(name: &str, value: &Bytes) -> Option<(T, Bytes)> {
    let content = value.strip_prefix(MAGIC)?;
    let (sum, content) = content.split_first_chunk::<SUM>()?;
    if *sum != record::sum(&[name.as_bytes(), content]) {
        return None;
    }
    let end = content.iter().position(|byte| *byte == b'\n')?;
    let head = serde_json::from_slice(&content[..end]).ok()?;
    Some((head, value.slice(MAGIC.len() + SUM + end + 1..)))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const NAME: &str = "pai:1:page";

    fn reading(server: u64, now: Instant) -> ClockReading {
        ClockReading {
            server,
            asked: now,
            replied: now + Duration::from_millis(10),
        }
    }

    fn page(sent: Instant) -> PageAnswer {
        PageAnswer {
            request_id: Some("R-1".to_owned()),
            request_id_header: Some(HeaderValue::from_static("R-1")),
            sent,
            took: Duration::from_millis(40),
            received: Timestamp::UNIX_EPOCH,
            date: None,
            cache_control: "max-age=60".to_owned(),
            upstream: UpstreamFreshness::new(Duration::from_secs(7), Some(3), None),
        }
    }

    #[test]
    fn a_page_reads_as_it_was_written_with_times_of_the_reader() {
        let start = Instant::now() + Duration::from_secs(1000);
        let sent = start + Duration::from_millis(200);
        let (writer, reader) = (
            reading(5_000_000, start),
            reading(5_000_300, start + Duration::from_millis(300)),
        );
        let value = encode_page(NAME, &page(sent), b"{\n}", &writer).unwrap();
        let (read, body) = decode_page(NAME, &value.into(), &reader).unwrap();
        assert_eq!(body, b"{\n}"[..]);
        assert_eq!(read.request_id.as_deref(), Some("R-1"));
        assert_eq!(read.request_id_header.unwrap(), "R-1");
        assert_eq!(read.cache_control, "max-age=60");
        assert_eq!(read.upstream, page(sent).upstream);
        // Never asked for later, nor complete earlier, than in truth.
        assert!(read.sent <= sent && read.sent + read.took >= sent + Duration::from_millis(40));
        assert!(sent - read.sent <= Duration::from_millis(21));
    }

    #[test]
    fn a_value_of_another_name_or_with_another_byte_is_refused() {
        let walk = StoredWalk {
            token: "t".to_owned(),
            walk: 1,
            pages: 2,
            is_steady: true,
            is_denied: false,
            started: 5,
            ended: 6,
        };
        let value = encode_walk(NAME, &walk).unwrap();
        assert_eq!(decode_walk(NAME, &value.clone().into()), Some(walk));
        assert_eq!(decode_walk("pai:1:other", &value.clone().into()), None);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            assert_eq!(decode_walk(NAME, &damaged.into()), None, "{at}");
            assert_eq!(
                decode_walk(NAME, &value[..at].to_vec().into()),
                None,
                "{at}"
            );
        }
    }
}
