//! The header `Cache-Status` (RFC 9211) of this gateway.

use bytes::Bytes;
use http::HeaderValue;

use super::seconds::Seconds;
use crate::observability::outcome::StaleReason;
use crate::upstream::UpstreamFreshness;

/// Part of the cache in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// Fresh from memory; seconds left.
    Hit(i64),
    /// Fresh from memory, made from an item of the catalogue; seconds left.
    Catalogue(i64),
    /// Stale from memory while it is fetched again; seconds left, so none.
    Revalidating(i64),
    /// Stale from memory because the origin failed.
    OriginError(i64),
    /// Stale from memory because the client has used up its misses; seconds left.
    OverBudget(i64),
    /// Fetched for this request.
    Stored,
    /// Fetched by another request.
    Collapsed,
    /// Fetched because the client asked for it.
    Forced,
    /// The origin's negative answer, from memory.
    Negative,
    /// Not cached: writes, and lists where `lists.ttl` is zero.
    Bypass,
    /// Not disclosed: the header names the gateway only.
    Undisclosed,
}

impl CacheStatus {
    /// Returns the part of a cache that sent an answer of this freshness from its memory; `None` for one that passed
    /// the answer on.
    #[must_use]
    pub fn of_upstream(freshness: UpstreamFreshness) -> Option<Self> {
        let left = freshness.left()?;
        Some(match freshness.stale_reason() {
            None => Self::Hit(left),
            Some(StaleReason::Revalidating) => Self::Revalidating(left),
            Some(StaleReason::OriginError) => Self::OriginError(left),
            Some(StaleReason::OverBudget) => Self::OverBudget(left),
        })
    }

    /// Returns the reason for a stale answer of this gateway; `None` for any other answer.
    #[must_use]
    pub const fn stale_reason(self) -> Option<StaleReason> {
        match self {
            Self::Revalidating(_) => Some(StaleReason::Revalidating),
            Self::OriginError(_) => Some(StaleReason::OriginError),
            Self::OverBudget(_) => Some(StaleReason::OverBudget),
            Self::Hit(_)
            | Self::Catalogue(_)
            | Self::Stored
            | Self::Collapsed
            | Self::Forced
            | Self::Negative
            | Self::Bypass
            | Self::Undisclosed => None,
        }
    }

    /// Returns the header's value, after the part of the cache that answered this gateway: the cache that is nearest to
    /// the origin comes first (RFC 9211 §2).
    #[must_use]
    pub fn after(self, upstream: Option<Self>) -> HeaderValue {
        let ours = self.to_header();
        let Some(theirs) = upstream.map(Self::to_header) else {
            return ours;
        };
        let both = [theirs.as_bytes(), b", ", ours.as_bytes()].concat();
        HeaderValue::from_maybe_shared(Bytes::from(both)).unwrap_or(ours)
    }

    /// Returns the header's value, which never contains the key.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        let with_detail = |ttl: i64, detail: Option<&str>| {
            let mut text = format!("pai-image-gateway; hit; ttl={ttl}");
            if let Some(detail) = detail {
                text.push_str("; detail=");
                text.push_str(detail);
            }
            HeaderValue::try_from(text)
                .unwrap_or(HeaderValue::from_static("pai-image-gateway; hit"))
        };
        let with_ttl = |ttl, reason: StaleReason| with_detail(ttl, Some(reason.as_str()));
        match self {
            Self::Hit(ttl) => match u64::try_from(ttl) {
                Ok(seconds) => HIT_TTLS.header(seconds),
                Err(_) => with_detail(ttl, None),
            },
            Self::Catalogue(ttl) => with_detail(ttl, Some("catalogue")),
            Self::Revalidating(ttl) => with_ttl(ttl, StaleReason::Revalidating),
            Self::OriginError(ttl) => with_ttl(ttl, StaleReason::OriginError),
            Self::OverBudget(ttl) => with_ttl(ttl, StaleReason::OverBudget),
            Self::Stored => HeaderValue::from_static("pai-image-gateway; fwd=uri-miss; stored"),
            Self::Collapsed => {
                HeaderValue::from_static("pai-image-gateway; fwd=uri-miss; collapsed")
            }
            Self::Forced => HeaderValue::from_static("pai-image-gateway; fwd=request; stored"),
            Self::Negative => HeaderValue::from_static("pai-image-gateway; hit; detail=not-found"),
            Self::Bypass => HeaderValue::from_static("pai-image-gateway; fwd=bypass"),
            Self::Undisclosed => HeaderValue::from_static("pai-image-gateway"),
        }
    }
}

/// A hit's, by what is left of its ttl.
static HIT_TTLS: Seconds = Seconds::new("pai-image-gateway; hit; ttl=");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_part_of_the_cache_before_comes_first() {
        let after = |left, reason| {
            let freshness = UpstreamFreshness::new(Duration::from_secs(9), left, reason);
            CacheStatus::Stored.after(CacheStatus::of_upstream(freshness))
        };
        let ours = "pai-image-gateway; fwd=uri-miss; stored";
        assert_eq!(CacheStatus::Stored.after(None), ours);
        assert_eq!(after(None, None), ours);
        for (left, reason, theirs) in [
            (20, None, "hit; ttl=20"),
            (-5, None, "hit; ttl=-5"),
            (
                -5,
                Some(StaleReason::Revalidating),
                "hit; ttl=-5; detail=revalidating",
            ),
            (
                -5,
                Some(StaleReason::OriginError),
                "hit; ttl=-5; detail=origin-error",
            ),
            (
                -5,
                Some(StaleReason::OverBudget),
                "hit; ttl=-5; detail=over-budget",
            ),
        ] {
            let expected = format!("pai-image-gateway; {theirs}, {ours}");
            assert_eq!(after(Some(left), reason), expected);
        }
    }

    #[test]
    fn the_documented_table_has_every_form() {
        let page = include_str!("../../docs/cache-status.md");
        for (status, form) in [
            (CacheStatus::Hit(123), "hit; ttl=123"),
            (
                CacheStatus::Revalidating(-5),
                "hit; ttl=-5; detail=revalidating",
            ),
            (
                CacheStatus::OriginError(-500),
                "hit; ttl=-500; detail=origin-error",
            ),
            (
                CacheStatus::OverBudget(-500),
                "hit; ttl=-500; detail=over-budget",
            ),
            (CacheStatus::Stored, "fwd=uri-miss; stored"),
            (CacheStatus::Collapsed, "fwd=uri-miss; collapsed"),
            (CacheStatus::Forced, "fwd=request; stored"),
            (CacheStatus::Negative, "hit; detail=not-found"),
            (CacheStatus::Bypass, "fwd=bypass"),
        ] {
            assert_eq!(status.to_header(), format!("pai-image-gateway; {form}"));
            assert!(
                page.contains(&format!("| `{form}` |")),
                "docs/cache-status.md lacks {form}"
            );
        }
        assert_eq!(CacheStatus::Undisclosed.to_header(), "pai-image-gateway");
    }

    #[test]
    fn a_ttl_counts_down_through_zero() {
        for (ttl, expected) in [
            (0, "pai-image-gateway; hit; ttl=0"),
            (-1, "pai-image-gateway; hit; ttl=-1"),
        ] {
            assert_eq!(CacheStatus::Hit(ttl).to_header(), expected);
        }
    }
}
