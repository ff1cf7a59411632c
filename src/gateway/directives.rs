//! The freshness that a client asks for (RFC 9111 §5.2.1), and the decision how to answer a lookup.

use std::time::Duration;

use http::{HeaderMap, header};
use tokio::time::Instant;

use crate::auth::{Permission, Principal};
use crate::cache::{Entry, Freshness, LookupResult, Negative};
use crate::observability::outcome::Outcome;
use crate::response::CacheStatus;
use crate::upstream::priority::Priority;

/// Shortest time between two fetches of one key that clients force, whatever their directives say.
pub(super) const FORCED_INTERVAL: Duration = Duration::from_secs(1);

/// The `Cache-Control` directives of a request that count; others are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RequestDirectives {
    /// Greatest age of an answer; `no-cache` is a `max-age` of zero.
    max_age: Option<Duration>,
    min_fresh: Option<Duration>,
    pub(super) only_if_cached: bool,
}

/// A way to answer a GetImage, given the result of its lookup.
#[derive(Debug, Clone, Copy)]
pub(super) enum ServeDecision<'a> {
    /// Serves a fresh entry.
    Hit(&'a Entry),
    /// Serves a stale entry and refreshes it in the background.
    Stale(&'a Entry),
    /// Serves the origin's negative answer.
    Negative(&'a Negative),
    /// Fetches.
    Fetch(FetchReason),
    /// Denies an entry that the client may not view, after the time its fetch took.
    Deny(Duration),
    /// Answers 504, for a client that wants nothing fetched.
    NotCached,
}

/// Reason for a fetch that a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchReason {
    /// Nothing cached may be served.
    Miss,
    /// Nothing cached may be served, and the client's directives bound the age of a copy further up, too.
    MissNoCache,
    /// The client wants a newer answer than the cached one.
    Refresh,
}

impl FetchReason {
    /// Outcome and `Cache-Status` of the request that starts the fetch.
    pub(super) const fn outcome(self) -> (Outcome, CacheStatus) {
        match self {
            Self::Miss | Self::MissNoCache => (Outcome::Miss, CacheStatus::Stored),
            Self::Refresh => (Outcome::Refresh, CacheStatus::Forced),
        }
    }

    /// Priority of the fetch for a request that waits for this image alone.
    pub(super) const fn priority(self) -> Priority {
        match self {
            Self::Miss | Self::MissNoCache => Priority::Miss,
            Self::Refresh => Priority::Forced,
        }
    }

    /// Returns whether a parent gateway is to ask the origin instead of its own cache.
    pub(super) const fn bypasses_parent(self) -> bool {
        matches!(self, Self::MissNoCache | Self::Refresh)
    }
}

impl RequestDirectives {
    /// Reads the directives of a client that was granted `refresh`; those of any other count as none.
    pub(super) fn parse(headers: &HeaderMap, principal: &Principal) -> Self {
        let mut directives = Self::default();
        if !principal.may(Permission::Refresh) {
            return directives;
        }
        for value in headers.get_all(header::CACHE_CONTROL) {
            for directive in value.to_str().unwrap_or("").split(',') {
                directives.add(directive.trim());
            }
        }
        directives
    }

    fn add(&mut self, directive: &str) {
        let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
        let seconds = || {
            argument
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs)
        };
        if name.eq_ignore_ascii_case("no-cache") {
            self.max_age = Some(Duration::ZERO);
        } else if name.eq_ignore_ascii_case("max-age") {
            self.max_age = self.max_age.into_iter().chain(seconds()).min();
        } else if name.eq_ignore_ascii_case("min-fresh") {
            self.min_fresh = seconds();
        } else if name.eq_ignore_ascii_case("only-if-cached") {
            self.only_if_cached = true;
        }
    }

    /// Decides how to answer a client that `may_view` some entries.
    ///
    /// An entry too old to be served is fetched before it is authorized, for its fields may have changed.
    /// Any other is authorized first, so that a client causes no fetch of an image hidden from it.
    pub(super) fn decide(
        self,
        known: &LookupResult,
        now: Instant,
        may_view: impl FnOnce(&Entry) -> bool,
    ) -> ServeDecision<'_> {
        match known {
            LookupResult::Image(entry, freshness)
                if *freshness != Freshness::StaleIfError && !may_view(entry) =>
            {
                self.unless_only_if_cached(ServeDecision::Deny(entry.took()))
            }
            LookupResult::Image(entry, freshness)
                if self.bounds_age()
                    && *freshness != Freshness::StaleIfError
                    && self.wants_newer(entry.ttl(), entry.age(now), entry.resident_time(now)) =>
            {
                self.unless_only_if_cached(ServeDecision::Fetch(FetchReason::Refresh))
            }
            LookupResult::Image(entry, Freshness::Fresh) => ServeDecision::Hit(entry),
            LookupResult::Image(entry, Freshness::StaleWhileRevalidate) => {
                ServeDecision::Stale(entry)
            }
            LookupResult::Negative(negative) => {
                let age = negative.age(now);
                if self.wants_newer_than(age, age) {
                    self.unless_only_if_cached(ServeDecision::Fetch(FetchReason::Refresh))
                } else {
                    ServeDecision::Negative(negative)
                }
            }
            LookupResult::Image(_, Freshness::StaleIfError | Freshness::Expired)
            | LookupResult::Miss => self.unless_only_if_cached(ServeDecision::Fetch(self.miss())),
        }
    }

    /// Returns the directives without those about an answer's age.
    pub(super) fn of_any_age(self) -> Self {
        Self {
            only_if_cached: self.only_if_cached,
            ..Self::default()
        }
    }

    /// Returns the reason to fetch where nothing cached may be served.
    pub(super) const fn miss(self) -> FetchReason {
        if self.bounds_age() {
            FetchReason::MissNoCache
        } else {
            FetchReason::Miss
        }
    }

    /// Returns whether the client bounds the age at all; nearly none does, so that a hit computes none for it.
    const fn bounds_age(self) -> bool {
        self.max_age.is_some() || self.min_fresh.is_some()
    }

    fn unless_only_if_cached(self, decision: ServeDecision<'_>) -> ServeDecision<'_> {
        if self.only_if_cached {
            ServeDecision::NotCached
        } else {
            decision
        }
    }

    /// Judges an answer of this ttl and age that has been in memory for `held`.
    pub(super) fn wants_newer(self, ttl: Duration, age: Duration, held: Duration) -> bool {
        let too_short = self
            .min_fresh
            .is_some_and(|least| ttl.saturating_sub(age) < least && held >= FORCED_INTERVAL);
        too_short || self.wants_newer_than(age, held)
    }

    /// Judges an answer of this age that has been in memory for `held`.
    fn wants_newer_than(self, age: Duration, held: Duration) -> bool {
        self.max_age
            .is_some_and(|most| age > most && held >= FORCED_INTERVAL)
    }
}

#[cfg(test)]
mod tests;
