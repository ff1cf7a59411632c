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
    plan_for(|_| true, cache_control, held, initial_age)
}

/// For a client that may view some entries.
fn plan_for(
    may_view: fn(&Entry) -> bool,
    cache_control: &str,
    held: u64,
    initial_age: u64,
) -> ServeDecision<'static> {
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
    RequestDirectives::parse(&headers, &Principal::Anonymous).decide(known, now, may_view)
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
    // RFC 9111 §5.2.1.2: no less than its current age plus the specified time.
    assert!(matches!(plan("min-fresh=58", 2), ServeDecision::Hit(_)));
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

/// A parent's copy answers a plain miss. A client that bounds the age gets an answer of the origin.
#[test]
fn a_parents_copy_is_bypassed_where_the_client_bounds_the_age() {
    for (directives, age, is_bypassed) in [
        ("", 121, false),
        ("max-age=500", 121, true),
        ("min-fresh=1", 121, true),
        ("no-cache", 121, true),
        ("no-cache", 2, true),
    ] {
        let ServeDecision::Fetch(reason) = plan(directives, age) else {
            panic!("{directives} fetches nothing");
        };
        assert_eq!(reason.bypasses_parent(), is_bypassed, "{directives}");
    }
}

/// An image that only the origin's failure would let out may have become visible since.
#[test]
fn a_hidden_image_is_denied_as_long_as_it_would_be_served() {
    let plan = |directives, age| plan_for(|_| false, directives, age, 0);
    for age in [0, 59, 60, 119] {
        for directives in ["", "no-cache", "max-age=0", "min-fresh=60"] {
            let denied = plan(directives, age);
            assert!(
                matches!(denied, ServeDecision::Deny(_)),
                "{directives} {age}"
            );
        }
        let denied = plan("only-if-cached", age);
        assert!(matches!(denied, ServeDecision::NotCached), "{age}");
    }
    let fetched = plan("", 120);
    assert!(matches!(fetched, ServeDecision::Fetch(FetchReason::Miss)));
}
