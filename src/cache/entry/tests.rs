use proptest::prelude::*;

use super::*;
use crate::observability::outcome::StaleReason;
use crate::upstream::freshness::MAX_AGE;

fn entry(body: &'static str) -> Entry {
    let arrival = FetchedImage {
        body: Bytes::from_static(body.as_bytes()),
        fields: ImageFields::parse(body.as_bytes()).unwrap(),
        request_id: None,
        sent: Instant::now(),
        took: Duration::from_micros(1234),
        received: "2026-11-24T10:00:00Z".parse().unwrap(),
        date: "2026-11-24T10:00:01Z".parse().ok(),
        cache_control: "max-age=7200, no-cache".to_owned(),
        upstream: UpstreamFreshness::default(),
    };
    Entry::new(arrival, true, &Policy::default(), 0.25)
}

#[test]
fn an_entry_weighs_what_the_allocator_takes() {
    let sizes = [30, 626, 640, 641, 4096, 4132].map(allocated);
    assert_eq!(sizes, [30, 640, 640, 768, 4096, 5120]);
}

#[test]
fn an_entry_keeps_the_evidence_of_its_ttl() {
    let entry = entry(r#"{"GmtModifiedTime":"2026-11-24T09:00:00.123Z"}"#);
    let evidence = entry.evidence();
    let expected = Evidence {
        modified: "2026-11-24T09:00:00.123Z".parse().ok(),
        created: None,
        date: "2026-11-24T10:00:01Z".parse().unwrap(),
        verbose: true,
        directives: Directives {
            max_age: Some(Duration::from_secs(7200)),
            no_store: false,
            no_cache: true,
        },
        draw: 0.25,
        upstream: UpstreamFreshness::default(),
    };
    assert_eq!(evidence, expected);
    let decided = Policy::default().decide(&evidence).ttl;
    assert_eq!(entry.ttl().as_millis(), decided.as_millis());
    assert_eq!(entry.took(), Duration::from_micros(1234));
}

const DAY: u64 = 86_400;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An answer about an image that last changed so long before it, and had this age and bound when it arrived.
fn handed_on(sent: Instant, quiet: u64, upstream: UpstreamFreshness) -> Entry {
    let date: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
    let modified = date
        .checked_sub(upstream.initial_age() + secs(quiet))
        .unwrap();
    let body = format!(r#"{{"GmtModifiedTime":"{modified}"}}"#);
    let arrival = FetchedImage {
        fields: ImageFields::parse(body.as_bytes()).unwrap(),
        body: body.into(),
        request_id: None,
        sent,
        took: Duration::from_millis(40),
        received: date,
        date: Some(date),
        cache_control: String::new(),
        upstream,
    };
    Entry::new(arrival, false, &Policy::default(), 0.0)
}

fn aged(age: u64, left: Option<i64>) -> UpstreamFreshness {
    UpstreamFreshness::new(secs(age), left, None)
}

#[test]
fn the_ttl_is_of_the_origins_answer_and_the_initial_age_goes_off_it() {
    let sent = Instant::now();
    // A tenth of a thousand seconds, of which forty are over.
    let entry = handed_on(sent, 1000, aged(40, None));
    assert_eq!(entry.ttl(), secs(100));
    assert_eq!(entry.age(sent + secs(1)), secs(41));
    assert_eq!(entry.resident_time(sent + secs(1)), secs(1));
    assert_eq!(entry.fresh_for(), secs(60));
    let worth = |at| entry.freshness(&Policy::default(), sent + secs(at));
    assert_eq!(worth(59), Freshness::Fresh);
    assert_eq!(worth(60), Freshness::StaleWhileRevalidate);
    assert_eq!(worth(160), Freshness::StaleIfError);
    assert_eq!(worth(60 + DAY), Freshness::Expired);
}

#[test]
fn nothing_is_fresh_for_longer_than_at_the_cache_that_sent_it() {
    let sent = Instant::now();
    let grace = Duration::from_millis(1040);
    for (left, reason, ttl, fresh_for) in [
        (20, None, 60, secs(20)),
        (500, None, 100, secs(60)),
        (0, None, 40, grace),
        (-10, None, 30, grace),
        (50, Some(StaleReason::OriginError), 40, grace),
    ] {
        let upstream = UpstreamFreshness::new(secs(40), Some(left), reason);
        let entry = handed_on(sent, 1000, upstream);
        assert_eq!(
            (entry.ttl(), entry.fresh_for()),
            (secs(ttl), fresh_for),
            "{left}"
        );
    }
}

#[test]
fn an_answer_that_arrives_stale_is_fresh_for_a_second_and_then_as_old_as_it_is() {
    let sent = Instant::now();
    let worth = |age, at: u64| {
        let entry = handed_on(sent, 1000, aged(age, None));
        entry.freshness(&Policy::default(), sent + Duration::from_millis(at))
    };
    for (age, then) in [
        (150, Freshness::StaleWhileRevalidate),
        (1000, Freshness::StaleIfError),
        (100 + DAY - 1, Freshness::Expired),
    ] {
        assert_eq!(worth(age, 999), Freshness::Fresh, "{age}");
        assert_eq!(worth(age, 1040), then, "{age}");
    }
    // Else two gateways that ask each other would hand it to and fro for ever.
    assert_eq!(worth(100 + DAY, 0), Freshness::Expired);
}

#[test]
fn a_softly_purged_entry_has_no_grace() {
    let sent = Instant::now();
    let entry = handed_on(sent, 1000, aged(150, None)).softly_purged();
    assert_eq!(
        entry.freshness(&Policy::default(), sent),
        Freshness::StaleIfError
    );
}

#[test]
fn an_entry_keeps_its_age_and_bound_on_arrival() {
    let upstream = UpstreamFreshness::new(secs(40), Some(20), Some(StaleReason::Revalidating));
    let sent = Instant::now();
    let entry = handed_on(sent, 1000, upstream);
    let evidence = entry.evidence();
    assert_eq!(evidence.upstream, upstream);
    assert_eq!(entry.origin_asked(), sent - secs(40));
    assert_eq!(evidence.date, "2026-11-24T09:59:20Z".parse().unwrap());
    assert_eq!(Policy::default().decide(&evidence).ttl, entry.ttl());
}

#[test]
fn an_entry_is_no_larger_than_it_must_be() {
    assert!(size_of::<Entry>() <= 168, "{}", size_of::<Entry>());
}

proptest! {
    /// Whatever age and bound an answer brings, from its arrival on: fresh for the grace, and beyond it only while both
    /// ttls last.
    #[test]
    fn freshness_behind_another_cache_is_within_its_own_ttl_and_that_caches(
        quiet in 0u64..100_000, age in 0u64..3_000_000, left in prop::option::of(-100_000i64..100_000), at in 0u64..200_000_000,
    ) {
        let (sent, policy) = (Instant::now(), Policy::default());
        let entry = handed_on(sent, quiet, aged(age, left));
        let own = policy.decide(&Evidence { upstream: UpstreamFreshness::default(), ..entry.evidence() }).ttl;
        let at = Duration::from_millis(at);
        let worth = entry.freshness(&policy, sent + at);
        let age = secs(age).min(MAX_AGE);
        let grace = at < entry.took() + GRACE;
        let lasts = age + at < own && left.is_none_or(|left| at < secs(u64::try_from(left).unwrap_or(0)));
        // However old it was when it arrived, it serves no longer than an answer of the origin would.
        let serves = age + at < entry.ttl() + policy.stale_if_error.0;
        prop_assert_eq!(worth == Freshness::Fresh, serves && (grace || lasts));
        prop_assert_eq!(worth != Freshness::Expired, serves);
        prop_assert!(entry.ttl() <= own);
    }

    /// A chain of gateways, each answering the next with the oldest it may: nothing lives longer for it.
    #[test]
    fn a_chain_of_gateways_keeps_nothing_alive(quiet in 0u64..100_000, waits in prop::collection::vec(0u64..200_000, 1..8)) {
        let policy = Policy::default();
        let begin = Instant::now() + secs(10 * DAY);
        let mut entry = handed_on(begin, quiet, UpstreamFreshness::default());
        let limit = entry.ttl() + policy.stale_if_error.0;
        let (mut now, mut hops) = (begin, 0u32);
        for wait in waits {
            now += secs(wait);
            if entry.freshness(&policy, now) == Freshness::Expired {
                break;
            }
            hops += 1;
            // Each tells its age to the second.
            prop_assert!(now - begin < limit + secs(1) * hops);
            let age = entry.age(now).as_secs();
            let left = entry.ttl().as_secs() as i64 - age as i64;
            let upstream = UpstreamFreshness::new(secs(age), Some(left), Some(StaleReason::OriginError));
            entry = handed_on(now, quiet, upstream);
        }
    }
}
