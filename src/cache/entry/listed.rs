//! The catalogue's part in an entry: made from an item, bound to it, renewed by its pages.

use tokio::time::Instant;

use super::{Entry, FetchedImage, LastRefresh, saturating};
use crate::cache::catalogue::PageAnswer;
use crate::cache::freshness::{Evidence, Policy};

/// Part that the catalogue has in an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// None.
    None,
    /// GetImage's answer, which agrees with an item: the next page renews it.
    Bound,
    /// An item, as an answer.
    Item,
}

impl Entry {
    /// Returns whether the entry agrees with an item of the catalogue, whose next page renews it.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.listing != Listing::None
    }

    /// Returns whether the entry was made from an item of the catalogue.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listing == Listing::Item
    }

    /// Creates an entry from an item of the catalogue.
    pub(in crate::cache) fn listed(
        item: FetchedImage,
        verbose: bool,
        policy: &Policy,
        draw: f64,
    ) -> Self {
        Self {
            listing: Listing::Item,
            ..Self::new(item, verbose, policy, draw)
        }
    }

    /// Returns whether the resident time counts from this time.
    pub(in crate::cache) fn was_sent_at(&self, time: Instant) -> bool {
        self.timing.sent == time
    }

    /// Returns the time at which the whole answer of its fetch was there, if no page has renewed it since.
    pub(in crate::cache) fn answered(&self) -> Instant {
        self.timing.sent + self.took()
    }

    /// Returns a copy that is fresh until this time at least, and that a later page may renew.
    #[must_use]
    pub(in crate::cache) fn bound(&self, fresh_until: Instant) -> Self {
        let least = fresh_until.saturating_duration_since(self.origin_asked());
        Self {
            ttl: self.ttl.max(saturating(least.as_millis())),
            listing: match self.listing {
                Listing::None => Listing::Bound,
                listing => listing,
            },
            ..self.clone()
        }
    }

    /// Returns a copy as if it had been fetched with a page that confirms it, and bound to its item.
    #[must_use]
    pub(in crate::cache) fn renewed(
        &self,
        page: &PageAnswer,
        fresh_until: Instant,
        policy: &Policy,
    ) -> Self {
        let timing = page.timing();
        let evidence = Evidence {
            date: page.evidence_date(),
            upstream: timing.upstream,
            ..self.evidence()
        };
        let renewed = Self {
            timing,
            date: evidence.date.as_millisecond(),
            ttl: saturating(policy.decide(&evidence).ttl.as_millis()),
            last_refresh: LastRefresh::default(),
            purged: false,
            restored: false,
            ..self.clone()
        };
        renewed.bound(fresh_until)
    }
}
