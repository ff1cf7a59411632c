use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

fn evidence(modified: Option<Timestamp>, created: Option<Timestamp>, verbose: bool) -> Evidence {
    let date = at("2026-11-23T12:00:00Z").unwrap();
    Evidence {
        modified,
        created,
        date,
        verbose,
        directives: Directives::default(),
        draw: 0.0,
        upstream: UpstreamFreshness::default(),
    }
}

fn ttl(evidence: &Evidence) -> (u64, TtlSource) {
    let decision = Policy::default().decide(evidence);
    (decision.ttl.as_secs(), decision.source)
}

#[test]
fn a_ttl_is_a_tenth_of_the_quiet_time_within_bounds() {
    let plain = |modified| ttl(&evidence(at(modified), at("2020-01-01T00:00:00Z"), false));
    assert_eq!(plain("2026-11-23T11:50:00Z"), (60, TtlSource::Heuristic));
    assert_eq!(plain("2026-11-23T11:59:00Z"), (30, TtlSource::Heuristic));
    assert_eq!(plain("2026-11-23T12:04:59Z"), (30, TtlSource::Heuristic));
    assert_eq!(plain("2026-11-23T12:05:01Z"), (30, TtlSource::Future));
    assert_eq!(
        plain("2021-01-21T17:12:35.232Z"),
        (3600, TtlSource::Heuristic)
    );
    assert_eq!(
        ttl(&evidence(at("2021-01-21T17:12:35.232Z"), None, true)),
        (900, TtlSource::Heuristic)
    );
}

#[test]
fn the_newer_of_the_two_times_counts_and_one_is_enough() {
    assert_eq!(
        ttl(&evidence(
            at("2020-01-01T00:00:00Z"),
            at("2026-11-23T11:50:00Z"),
            false
        ))
        .0,
        60
    );
    assert_eq!(
        ttl(&evidence(None, at("2026-11-23T11:50:00Z"), false)).0,
        60
    );
    assert_eq!(ttl(&evidence(None, None, false)), (60, TtlSource::Fallback));
}

#[test]
fn the_fallback_is_bounded_too() {
    let policy = Policy {
        max: HumanDuration::secs(40),
        ..Policy::default()
    };
    assert_eq!(
        policy.decide(&evidence(None, None, false)).ttl.as_secs(),
        40
    );
}

#[test]
fn the_origins_date_counts_while_it_is_near_ours() {
    let ours = at("2026-11-23T12:00:00Z").unwrap();
    let near = at("2026-11-23T11:45:00Z");
    assert_eq!(Evidence::date(near, ours), near.unwrap());
    assert_eq!(Evidence::date(at("2026-11-23T11:44:59Z"), ours), ours);
    assert_eq!(Evidence::date(None, ours), ours);
}

#[test]
fn the_origins_directives_shorten_and_are_obeyed_as_set() {
    let old = |value| Evidence {
        directives: Directives::parse(value),
        ..evidence(at("2020-01-01T00:00:00Z"), None, false)
    };
    let decide = |how, value| {
        let decision = Policy {
            origin_cache_control: how,
            ..Policy::default()
        }
        .decide(&old(value));
        (decision.ttl.as_secs(), decision.source, decision.storable)
    };
    use OriginCacheControl::{Cap, Ignore, Respect};
    assert_eq!(
        decide(Cap, "max-age=7, s-maxage=5"),
        (5, TtlSource::Origin, true)
    );
    assert_eq!(
        decide(Cap, "max-age=99999"),
        (3600, TtlSource::Heuristic, true)
    );
    assert_eq!(
        decide(Cap, "no-store, No-Cache"),
        (3600, TtlSource::Heuristic, true)
    );
    for blanket in [
        "max-age=0",
        "s-maxage=0",
        "private, max-age=0, must-revalidate",
        // Spring Security's default.
        "no-cache, no-store, max-age=0, must-revalidate",
    ] {
        assert_eq!(decide(Cap, blanket), (3600, TtlSource::Heuristic, true));
        assert_eq!(decide(Ignore, blanket).0, 3600);
        assert_eq!(decide(Respect, blanket).0, 0, "{blanket}");
        assert!(Policy::default().ignores(Directives::parse(blanket)));
    }
    for (mixed, cap, respect) in [
        ("s-maxage=0, max-age=600", 600, 0),
        ("no-cache, max-age=5", 5, 0),
        ("max-age=0, s-maxage=60", 60, 60),
    ] {
        assert_eq!(decide(Cap, mixed).0, cap, "{mixed}");
        assert_eq!(decide(Respect, mixed).0, respect, "{mixed}");
    }
    assert!(!Policy::default().ignores(Directives::parse("max-age=5")));
    assert_eq!(decide(Respect, "no-cache"), (0, TtlSource::Origin, true));
    assert_eq!(
        decide(Respect, "no-store"),
        (3600, TtlSource::Heuristic, false)
    );
    assert_eq!(
        decide(Ignore, "max-age=1, no-store"),
        (3600, TtlSource::Heuristic, true)
    );
}

#[test]
fn an_answer_passes_through_its_windows_in_order() {
    let policy = Policy::default();
    let judge = |age, ttl| policy.judge(Duration::from_secs(age), Duration::from_secs(ttl));
    assert_eq!(judge(99, 100), Freshness::Fresh);
    assert_eq!(judge(100, 100), Freshness::StaleWhileRevalidate);
    assert_eq!(judge(199, 100), Freshness::StaleWhileRevalidate);
    assert_eq!(judge(200, 100), Freshness::StaleIfError);
    assert_eq!(judge(100 + 86_399, 100), Freshness::StaleIfError);
    assert_eq!(judge(100 + 86_400, 100), Freshness::Expired);
    assert_eq!(judge(3600 + 600, 3600), Freshness::StaleIfError);
}

#[test]
fn early_refresh_waits_for_the_last_third() {
    let early = |age, draw| {
        refresh_early(
            Duration::from_secs(age),
            Duration::from_secs(100),
            Duration::ZERO,
            || draw,
        )
    };
    assert!(!early(69, 1.0 - f64::EPSILON));
    assert!(early(70, 1.0 - f64::EPSILON));
    assert!(!early(99, 0.0));
    // -ln(1/e) = 1: the lead is the assumed two seconds.
    assert!(early(98, 1.0 - (-1.0f64).exp()));
    assert!(!early(97, 1.0 - (-1.0f64).exp()));
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    prop::option::of(
        (-4_000_000_000i64..4_000_000_000).prop_map(|s| Timestamp::from_second(s).unwrap()),
    )
}

fn spans() -> impl Strategy<Value = Policy> {
    (
        0u64..100_000,
        0u64..100_000,
        0u64..100_000,
        0.0..10.0f64,
        0.0..=1.0f64,
    )
        .prop_map(|(min, max, fallback, factor, jitter)| Policy {
            factor,
            jitter,
            min: HumanDuration::secs(min),
            max: HumanDuration::secs(min + max),
            max_verbose: HumanDuration::secs(min + max / 2),
            fallback: HumanDuration::secs(fallback),
            ..Policy::default()
        })
}

proptest! {
    #[test]
    fn a_ttl_is_never_above_its_ceiling_nor_below_min(
        policy in spans(), modified in time(), created in time(), date in time(), verbose: bool, draw in 0.0..1.0f64,
        max_age in prop::option::of(0u64..10_000),
    ) {
        let directives = max_age.map_or_else(Directives::default, |age| Directives::parse(&format!("max-age={age}")));
        let date = date.unwrap_or(Timestamp::UNIX_EPOCH);
        let decision = policy.decide(&Evidence { modified, created, date, verbose, directives, draw, upstream: UpstreamFreshness::default() });
        prop_assert!(decision.ttl <= decision.ceiling);
        prop_assert!(decision.ttl >= policy.min.0.min(directives.max_age.unwrap_or(Duration::MAX)));
    }

    #[test]
    fn worth_never_rises_with_age(age in 0u64..200_000, older in 0u64..200_000, ttl in 0u64..4000) {
        let policy = Policy::default();
        let rank = |age| policy.judge(Duration::from_secs(age), Duration::from_secs(ttl)) as u8;
        prop_assert!(rank(age) <= rank(age + older));
    }
}

#[test]
fn each_source_has_the_contracts_name() {
    use TtlSource::{Fallback, Future, Heuristic, Origin};
    let words = [Heuristic, Fallback, Future, Origin].map(TtlSource::as_str);
    assert_eq!(words, ["heuristic", "fallback", "future", "origin"]);
}

/// "Future by more than 5 min", and a directive decides only where it is the shorter.
#[test]
fn bounds_that_are_met_exactly_do_not_decide() {
    let ahead = ttl(&evidence(at("2026-11-23T12:05:00Z"), None, false));
    assert_eq!(ahead, (30, TtlSource::Heuristic));
    let directives = Directives::parse("max-age=3600");
    let equal = Evidence {
        directives,
        ..evidence(at("2020-01-01T00:00:00Z"), None, false)
    };
    assert_eq!(ttl(&equal), (3600, TtlSource::Heuristic));
}

/// `uniform(0.9, 1)`.
#[test]
fn jitter_takes_up_to_a_tenth_away() {
    for (draw, expected) in [(0.0, 3600), (0.5, 3420), (1.0, 3240)] {
        let drawn = Evidence {
            draw,
            ..evidence(at("2020-01-01T00:00:00Z"), None, false)
        };
        assert_eq!(ttl(&drawn), (expected, TtlSource::Heuristic), "{draw}");
    }
}
