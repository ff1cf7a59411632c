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
                if self.wants_newer(entry, now) && *freshness != Freshness::StaleIfError =>
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

    const fn miss(self) -> FetchReason {
        if self.max_age.is_some() || self.min_fresh.is_some() {
            FetchReason::MissNoCache
        } else {
            FetchReason::Miss
        }
    }

    fn unless_only_if_cached(self, decision: ServeDecision<'_>) -> ServeDecision<'_> {
        if self.only_if_cached {
            ServeDecision::NotCached
        } else {
            decision
        }
    }

    fn wants_newer(self, entry: &Entry, now: Instant) -> bool {
        let (age, held) = (entry.age(now), entry.resident_time(now));
        let too_short = self.min_fresh.is_some_and(|least| {
            entry.ttl().saturating_sub(age) < least && held >= FORCED_INTERVAL
        });
        too_short || self.wants_newer_than(age, held)
    }

    /// Judges an answer of this age that has been in memory for `held`.
    fn wants_newer_than(self, age: Duration, held: Duration) -> bool {
        self.max_age
            .is_some_and(|most| age > most && held >= FORCED_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::*;
    use crate::api::ImageFields;
    use crate::cache::{FetchedImage, Policy};
    use crate::upstream::UpstreamFreshness;

    fn plan(cache_control: &str, age: u64) -> ServeDecision<'static> {
        plan_of(cache_control, age, 0)
    }

    /// Of an image that was asked for so long ago, and had that age then.
    fn plan_of(cache_control: &str, held: u64, initial_age: u64) -> ServeDecision<'static> {
        let now = Instant::now() + Duration::from_secs(100_000);
        let arrival = FetchedImage {
            body: "{}".into(),
            fields: ImageFields::default(),
            request_id: Some(HeaderValue::from_static("r")),
            sent: now - Duration::from_secs(held),
            took: Duration::ZERO,
            received: jiff::Timestamp::now(),
            date: None,
            cache_control: String::new(),
            upstream: UpstreamFreshness::new(Duration::from_secs(initial_age), None, None),
        };
        // Without times the ttl is 60 s; stale for 60 s more.
        let entry = Arc::new(Entry::new(arrival, false, &Policy::default(), 0.0));
        let freshness = entry.freshness(&Policy::default(), now);
        let headers = [(header::CACHE_CONTROL, cache_control.parse().unwrap())]
            .into_iter()
            .collect();
        let known = Box::leak(Box::new(LookupResult::Image(entry, freshness)));
        RequestDirectives::parse(&headers, &Principal::Anonymous).decide(known, now, |_| true)
    }

    #[test]
    fn without_directives_the_entrys_own_freshness_decides() {
        assert!(matches!(plan("", 59), ServeDecision::Hit(_)));
        assert!(matches!(
            plan("max-stale=9, no-transform", 60),
            ServeDecision::Stale(_)
        ));
        assert!(matches!(
            plan("", 121),
            ServeDecision::Fetch(FetchReason::Miss)
        ));
    }

    #[test]
    fn newer_is_fetched_but_not_within_a_second() {
        for directives in [
            "no-cache",
            "No-Cache",
            "max-age=1",
            "max-age=0",
            "min-fresh=59",
            "max-age=\"1\"",
        ] {
            assert!(
                matches!(
                    plan(directives, 2),
                    ServeDecision::Fetch(FetchReason::Refresh)
                ),
                "{directives}"
            );
            assert!(
                matches!(plan(directives, 0), ServeDecision::Hit(_)),
                "{directives}"
            );
        }
        assert!(matches!(
            plan("max-age=10, min-fresh=40", 10),
            ServeDecision::Hit(_)
        ));
        assert!(matches!(
            plan("no-cache, max-age=100", 10),
            ServeDecision::Fetch(FetchReason::Refresh)
        ));
    }

    #[test]
    fn an_answer_that_came_aged_is_as_old_as_it_says_and_asked_for_once_a_second() {
        assert!(matches!(
            plan_of("max-age=40", 1, 40),
            ServeDecision::Fetch(FetchReason::Refresh)
        ));
        assert!(matches!(
            plan_of("max-age=42", 1, 40),
            ServeDecision::Hit(_)
        ));
        assert!(matches!(plan_of("no-cache", 0, 40), ServeDecision::Hit(_)));
        assert!(matches!(
            plan_of("min-fresh=20", 0, 59),
            ServeDecision::Hit(_)
        ));
        assert!(matches!(
            plan_of("min-fresh=20", 1, 45),
            ServeDecision::Fetch(FetchReason::Refresh)
        ));
    }

    #[test]
    fn only_if_cached_fetches_nothing() {
        assert!(matches!(plan("only-if-cached", 59), ServeDecision::Hit(_)));
        assert!(matches!(
            plan("only-if-cached", 60),
            ServeDecision::Stale(_)
        ));
        assert!(matches!(
            plan("only-if-cached", 121),
            ServeDecision::NotCached
        ));
        assert!(matches!(
            plan("only-if-cached, no-cache", 10),
            ServeDecision::NotCached
        ));
    }
}
