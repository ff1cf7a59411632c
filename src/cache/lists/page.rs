//! A page of a list as it is kept in memory.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use super::Config;
use crate::cache::answer_age::AnswerAge;
use crate::cache::entry::{GRACE, LastRefresh};
use crate::cache::freshness::Directives;
use crate::cache::{Freshness, Policy};
use crate::upstream::UpstreamFreshness;

/// A fetched page, with the values that its freshness is decided on.
#[derive(Debug)]
pub struct FetchedPage {
    /// The response body, byte for byte.
    pub body: Bytes,
    /// The origin's id of the answer.
    pub request_id: Option<HeaderValue>,
    /// Time at which its request was sent.
    pub sent: Instant,
    /// Time from the request to the whole answer.
    pub took: Duration,
    /// The origin's `Cache-Control`.
    pub directives: Directives,
    /// Age and bound of a page that a cache between had held.
    pub upstream: UpstreamFreshness,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct ListPage {
    /// The response body, byte for byte, in memory of its own.
    pub body: Bytes,
    /// The origin's id of the answer.
    pub request_id: Option<HeaderValue>,
    timing: AnswerAge,
    /// Time from the request to the whole answer.
    pub took: Duration,
    /// Age to which it is fresh.
    pub ttl: Duration,
    /// The settings allow storing it.
    pub storable: bool,
    /// Purged softly: served only while the origin fails.
    pub purged: bool,
    last_refresh: LastRefresh,
}

impl ListPage {
    /// Creates a page with the ttl of the settings, which the bound of a cache between and the origin's `Cache-Control`
    /// (as `freshness.origin_cache_control` says) may shorten.
    #[must_use]
    pub fn new(fetched: FetchedPage, config: &Config, policy: &Policy) -> Self {
        let ttl = config
            .ttl
            .0
            .min(policy.allowance(&fetched.directives))
            .min(fetched.upstream.ttl_cap().unwrap_or(Duration::MAX));
        Self {
            // The received bytes may be part of a larger allocation, which would be kept as a whole.
            body: Bytes::copy_from_slice(&fetched.body),
            request_id: fetched.request_id,
            timing: AnswerAge {
                sent: fetched.sent,
                upstream: fetched.upstream,
            },
            took: fetched.took,
            ttl,
            storable: !config.ttl.0.is_zero() && policy.allows_storing(&fetched.directives),
            purged: false,
            last_refresh: LastRefresh::default(),
        }
    }

    /// Returns the age and bound that the page had when it arrived.
    #[must_use]
    pub const fn upstream(&self) -> UpstreamFreshness {
        self.timing.upstream
    }

    /// Returns the age (RFC 9111 §4.2.3): the initial age and the resident time.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        self.timing.age(now)
    }

    /// Returns the time since this gateway sent its request, which includes the delay of the answer.
    #[must_use]
    pub fn resident_time(&self, now: Instant) -> Duration {
        self.timing.resident_time(now)
    }

    /// Returns the time at which the origin was asked: that of this gateway's request, less the initial age.
    #[must_use]
    pub fn origin_asked(&self) -> Instant {
        self.timing.origin_asked()
    }

    /// Takes the right to refresh this page in the background, at most once a second.
    #[must_use]
    pub fn begin_refresh(&self, now: Instant) -> bool {
        self.last_refresh.begin(self.resident_time(now))
    }

    /// Returns the freshness at `now`. A page that another cache had held is fresh for a second from its arrival, so
    /// that a cache that has only a stale copy does not get every request.
    #[must_use]
    pub fn freshness(&self, config: &Config, now: Instant) -> Freshness {
        let has_grace =
            || self.upstream().is_from_cache() && self.resident_time(now) < self.took + GRACE;
        match config.judge(self.age(now), self.ttl) {
            Freshness::Fresh | Freshness::StaleWhileRevalidate if self.purged => {
                Freshness::StaleIfError
            }
            Freshness::StaleWhileRevalidate | Freshness::StaleIfError
                if !self.purged && has_grace() =>
            {
                Freshness::Fresh
            }
            judged => judged,
        }
    }

    /// Returns a copy that is served only while the origin fails.
    #[must_use]
    pub fn softly_purged(&self) -> Self {
        Self {
            purged: true,
            ..self.clone()
        }
    }
}
