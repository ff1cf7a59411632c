//! Decision how to answer a request for a list, given the result of its lookup.

use std::sync::Arc;

use tokio::time::Instant;

use crate::cache::Freshness;
use crate::cache::lists::{ListLookup, ListPage};
use crate::gateway::directives::{FetchReason, RequestDirectives};

/// A way to answer a list.
#[derive(Debug, Clone, Copy)]
pub(super) enum ListDecision<'a> {
    /// Serves a fresh page.
    Hit(&'a Arc<ListPage>),
    /// Serves a stale page and refreshes it in the background.
    Stale(&'a Arc<ListPage>),
    /// Fetches.
    Fetch(FetchReason),
    /// Answers 504, for a client that wants nothing fetched.
    NotCached,
}

/// Decides as for an image that the client may view.
pub(super) fn decide(
    directives: RequestDirectives,
    known: &ListLookup,
    now: Instant,
) -> ListDecision<'_> {
    let reason = match known {
        ListLookup::Page(_, Freshness::StaleIfError | Freshness::Expired) | ListLookup::Miss => {
            directives.miss()
        }
        ListLookup::Page(page, freshness) => {
            let (age, resident) = (page.age(now), page.resident_time(now));
            if directives.wants_newer(page.ttl, age, resident) {
                FetchReason::Refresh
            } else if *freshness == Freshness::Fresh {
                return ListDecision::Hit(page);
            } else {
                return ListDecision::Stale(page);
            }
        }
    };
    if directives.only_if_cached {
        ListDecision::NotCached
    } else {
        ListDecision::Fetch(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::CACHE_CONTROL;

    use super::*;
    use crate::auth::Principal;
    use crate::cache::Policy;
    use crate::cache::freshness::Directives;
    use crate::cache::lists::{Config, FetchedPage};
    use crate::upstream::UpstreamFreshness;

    /// The decision about a list that was asked for so many seconds ago.
    fn decision(cache_control: &str, age: u64) -> String {
        let (config, now) = (
            Config::default(),
            Instant::now() + Duration::from_secs(100_000),
        );
        let page = FetchedPage {
            body: "{}".into(),
            request_id: None,
            sent: now - Duration::from_secs(age),
            took: Duration::ZERO,
            directives: Directives::default(),
            upstream: UpstreamFreshness::default(),
        };
        let page = Arc::new(ListPage::new(page, &config, &Policy::default()));
        let freshness = page.freshness(&config, now);
        let headers = [(CACHE_CONTROL, cache_control.parse().unwrap())];
        let directives =
            RequestDirectives::parse(&headers.into_iter().collect(), &Principal::Anonymous);
        match decide(directives, &ListLookup::Page(page, freshness), now) {
            ListDecision::Hit(_) => "hit".to_owned(),
            ListDecision::Stale(_) => "stale".to_owned(),
            ListDecision::Fetch(reason) => format!("{reason:?}"),
            ListDecision::NotCached => "not cached".to_owned(),
        }
    }

    #[test]
    fn a_list_is_decided_as_an_image_is() {
        for (cache_control, age, expected) in [
            ("", 14, "hit"),
            ("", 15, "stale"),
            ("", 30, "Miss"),
            ("no-cache", 0, "hit"),
            ("no-cache", 1, "Refresh"),
            ("no-cache", 20, "Refresh"),
            ("no-cache", 30, "MissNoCache"),
            ("max-age=10", 10, "hit"),
            ("max-age=10", 11, "Refresh"),
            ("min-fresh=5", 10, "hit"),
            ("min-fresh=5", 11, "Refresh"),
            ("only-if-cached", 14, "hit"),
            ("only-if-cached", 15, "stale"),
            ("only-if-cached", 30, "not cached"),
            ("only-if-cached, no-cache", 10, "not cached"),
            ("max-stale=9, no-store", 14, "hit"),
        ] {
            let decided = decision(cache_control, age);
            assert_eq!(decided, expected, "{cache_control} {age}");
        }
    }
}
