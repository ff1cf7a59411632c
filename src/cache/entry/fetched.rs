//! The values that an entry is made of: a fetched answer, and for a stored one the decision of its time.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::ImageFields;
use crate::cache::freshness::Directives;
use crate::upstream::UpstreamFreshness;

/// A fetched answer, with the values that its freshness is decided on.
#[derive(Debug, Clone)]
pub struct FetchedImage {
    /// The response body, byte for byte.
    pub body: Bytes,
    /// The fields parsed from the body.
    pub fields: ImageFields,
    /// The origin's id of the answer, for `x-acs-request-id`, if it sent one.
    pub request_id: Option<HeaderValue>,
    /// Time at which its request was sent; the resident time counts from here.
    pub sent: Instant,
    /// Time from the request to the whole answer.
    pub took: Duration,
    /// Wall-clock time of arrival.
    pub received: Timestamp,
    /// The origin's `Date`, if readable.
    pub date: Option<Timestamp>,
    /// The origin's `Cache-Control`; empty if it sent none.
    pub cache_control: String,
    /// Its age and bound at the cache that sent it.
    pub upstream: UpstreamFreshness,
}

/// The decision about an answer that was stored before.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct EarlierDecision {
    /// The answer includes labels.
    pub(in crate::cache) verbose: bool,
    /// Its ttl, which is never extended.
    pub(in crate::cache) ttl: Duration,
    /// It was purged softly.
    pub(in crate::cache) purged: bool,
    /// It may have missed invalidations since.
    pub(in crate::cache) restored: bool,
    /// As in [`Evidence`](crate::cache::freshness::Evidence), like the next two.
    pub(in crate::cache) date: Timestamp,
    pub(in crate::cache) directives: Directives,
    pub(in crate::cache) draw: f64,
}
