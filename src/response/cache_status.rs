//! The header `Cache-Status` (RFC 9211) of this gateway.

use http::HeaderValue;

use super::seconds::Seconds;
use crate::cache::Parent;

/// Part of the cache in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// Fresh from memory; seconds left.
    Hit(i64),
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
    /// Not cached: lists and writes.
    Bypass,
    /// Not disclosed: the header names the gateway only.
    Undisclosed,
}

impl CacheStatus {
    /// Returns the header's value, after the parent's part if the parent answered from memory: the cache that is
    /// nearest to the origin comes first (RFC 9211 §2).
    #[must_use]
    pub fn with_parent(self, parent: Option<&Parent>) -> HeaderValue {
        let ours = self.to_header();
        let Some((left, parent)) = parent.and_then(|parent| Some((parent.left()?, parent))) else {
            return ours;
        };
        let detail = parent.detail.map_or(String::new(), |detail| {
            format!("; detail={}", detail.as_str())
        });
        let text = ours.to_str().unwrap_or("pai-image-gateway");
        let both = format!("pai-image-gateway; hit; ttl={left}{detail}, {text}");
        HeaderValue::try_from(both).unwrap_or(ours)
    }

    /// Returns the header's value, which never contains the key.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        let with_ttl = |ttl: i64, rest: &str| {
            let text = format!("pai-image-gateway; hit; ttl={ttl}{rest}");
            HeaderValue::try_from(text)
                .unwrap_or(HeaderValue::from_static("pai-image-gateway; hit"))
        };
        match self {
            Self::Hit(ttl) => match u64::try_from(ttl) {
                Ok(seconds) => HIT_TTLS.header(seconds),
                Err(_) => with_ttl(ttl, ""),
            },
            Self::Revalidating(ttl) => with_ttl(ttl, "; detail=revalidating"),
            Self::OriginError(ttl) => with_ttl(ttl, "; detail=origin-error"),
            Self::OverBudget(ttl) => with_ttl(ttl, "; detail=over-budget"),
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
    use super::*;

    #[test]
    fn the_parents_part_comes_before_ours() {
        let after =
            |age, status: &str| CacheStatus::Stored.with_parent(Some(&Parent::read(age, status)));
        let ours = "pai-image-gateway; fwd=uri-miss; stored";
        assert_eq!(CacheStatus::Stored.with_parent(None), ours);
        assert_eq!(after("9", ours), ours);
        for parents in [
            "pai-image-gateway; hit; ttl=20",
            "pai-image-gateway; hit; ttl=-5; detail=origin-error",
        ] {
            assert_eq!(after("9", parents), format!("{parents}, {ours}"));
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
