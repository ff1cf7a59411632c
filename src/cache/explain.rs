//! Explanations of a ttl in words and figures, for the command `ttl` and the admin listener. They use the
//! evidence and the policy that the cache itself decides on.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::entry::GRACE;
use super::freshness::{Decision, Evidence, Policy, TtlSource};
use crate::units::HumanDuration;

/// A ttl and the reasons for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The ttl and the steps to it.
    pub decision: Decision,
    /// Time after the ttl in which the answer is served while it is fetched again.
    pub stale_while_revalidate: Duration,
    /// Time after the ttl in which the answer is served while the origin fails.
    pub stale_if_error: Duration,
    /// The explanation, one sentence for each step.
    pub text: String,
}

impl Explanation {
    /// Explains the policy's decision on the evidence.
    #[must_use]
    pub fn new(policy: &Policy, evidence: &Evidence) -> Self {
        let decision = policy.decide(evidence);
        let stale_while_revalidate = policy.stale_while_revalidate(decision.ttl);
        let stale_if_error = policy.stale_if_error.0;
        let sentences = [
            initial_age(evidence, &decision),
            base(policy, evidence, &decision),
            bounds(policy, evidence, &decision),
            format!(
                "After that it serves for {} more while it is fetched again, and for {} while the origin fails.",
                words(stale_while_revalidate),
                words(stale_if_error)
            ),
        ];
        Self {
            decision,
            stale_while_revalidate,
            stale_if_error,
            text: sentences.join(" ").trim_start().to_owned(),
        }
    }
}

/// Explains the time that another cache had held the answer, which only a parent gateway tells; empty without one.
fn initial_age(evidence: &Evidence, decision: &Decision) -> String {
    let upstream = evidence.upstream;
    if !upstream.is_from_cache() {
        return String::new();
    }
    let age = upstream.initial_age();
    let why = upstream.stale_reason().map_or(String::new(), |reason| {
        format!(", and said of it {:?}", reason.as_str())
    });
    let then = if age < decision.ttl {
        "its age here began with that".to_owned()
    } else {
        format!(
            "older than its ttl, it is fresh here for {} from its arrival",
            words(GRACE)
        )
    };
    format!(
        "A parent gateway had held it for {} when it handed it on{why}: {then}.",
        words(age)
    )
}

fn base(policy: &Policy, evidence: &Evidence, decision: &Decision) -> String {
    let newest = evidence.modified.max(evidence.created);
    match (newest, decision.quiet) {
        (Some(newest), Some(quiet))
            if quiet < SignedDuration::ZERO && decision.base == policy.min.0 =>
        {
            format!(
                "The image says it changes at {newest}, {} after the answer: that is not believed, so the base is freshness.min, {}.",
                words(quiet.unsigned_abs()),
                words(decision.base)
            )
        }
        (Some(newest), Some(quiet)) => format!(
            "The image last changed at {newest}, {} before the answer; {} of that is {}.",
            words(Duration::try_from(quiet).unwrap_or_default()),
            policy.factor,
            words(decision.base)
        ),
        (None, _) | (_, None) => {
            format!(
                "The image has no readable time, so the base is freshness.fallback, {}.",
                words(decision.base)
            )
        }
    }
}

fn bounds(policy: &Policy, evidence: &Evidence, decision: &Decision) -> String {
    let bound = if decision.base > decision.ceiling {
        format!("At most {} is allowed", words(decision.ceiling))
    } else if decision.base < policy.min.0 {
        format!("At least {} is given", words(policy.min.0))
    } else {
        "That is within bounds".to_owned()
    };
    let (jitter, ttl) = (decision.jitter, words(decision.ttl));
    match decision.source {
        TtlSource::Origin => {
            let who = if evidence.upstream.ttl_cap() == Some(decision.ttl) {
                "the parent gateway gives it"
            } else {
                "the origin's Cache-Control allows"
            };
            format!("{bound}, times {jitter:.3} for jitter, but {who} less: the ttl is {ttl}.")
        }
        TtlSource::Heuristic | TtlSource::Fallback | TtlSource::Future => {
            format!("{bound}; times {jitter:.3} for jitter, the ttl is {ttl}.")
        }
    }
}

/// Formats a duration to the second, for a person.
fn words(duration: Duration) -> String {
    let days = duration.as_secs() / 86_400;
    if days > 2 {
        format!("{days} days")
    } else {
        HumanDuration::secs(duration.as_secs()).to_string()
    }
}

/// Formats a time to the second, as the API writes times; `None` beyond the calendar's end.
#[must_use]
pub fn wall(time: Timestamp, after: Duration) -> Option<String> {
    Some(
        time.checked_add(after)
            .ok()?
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::freshness::Directives;
    use crate::observability::outcome::StaleReason;
    use crate::upstream::UpstreamFreshness;

    fn text(modified: Option<&str>, cache_control: &str) -> String {
        let evidence = Evidence {
            modified: modified.map(|time| time.parse().unwrap()),
            created: None,
            date: "2026-11-23T12:00:00Z".parse().unwrap(),
            verbose: false,
            directives: Directives::parse(cache_control),
            draw: 0.5,
            upstream: UpstreamFreshness::default(),
        };
        Explanation::new(&Policy::default(), &evidence).text
    }

    fn of_a_cache(age: u64, left: Option<i64>, reason: Option<StaleReason>) -> String {
        let upstream = UpstreamFreshness::new(Duration::from_secs(age), left, reason);
        let evidence = Evidence {
            modified: "2021-01-21T17:12:35Z".parse().ok(),
            created: None,
            date: "2026-11-23T12:00:00Z".parse().unwrap(),
            verbose: false,
            directives: Directives::default(),
            draw: 0.0,
            upstream,
        };
        Explanation::new(&Policy::default(), &evidence).text
    }

    #[test]
    fn the_part_of_another_cache_is_explained() {
        let text = of_a_cache(300, Some(60), None);
        assert!(
            text.starts_with(
                "A parent gateway had held it for 5m when it handed it on: its age here began"
            ),
            "{text}"
        );
        assert!(
            text.contains("but the parent gateway gives it less: the ttl is 6m."),
            "{text}"
        );
        let text = of_a_cache(7200, Some(-3600), Some(StaleReason::OriginError));
        assert!(text.contains("held it for 2h when it handed it on, and said of it \"origin-error\": older than its ttl, it is fresh here for 1s"), "{text}");
        assert!(of_a_cache(1, None, None).contains("its age here began"));
        assert!(of_a_cache(0, None, None).starts_with("The image last changed"));
    }

    #[test]
    fn each_reason_is_explained() {
        let old = text(Some("2021-01-21T17:12:35Z"), "");
        assert!(
            old.contains("2131 days before the answer; 0.1 of that is 213 days."),
            "{old}"
        );
        assert!(
            old.contains("At most 1h is allowed; times 0.950 for jitter, the ttl is 57m."),
            "{old}"
        );
        assert!(
            old.contains("serves for 10m more while it is fetched again, and for 24h while"),
            "{old}"
        );
        assert!(text(Some("2026-11-23T11:59:00Z"), "").contains("At least 30s is given"));
        assert!(
            text(Some("2026-11-23T11:40:00Z"), "")
                .contains("20m before the answer; 0.1 of that is 2m. That is within bounds")
        );
        assert!(text(Some("2027-11-23T11:40:00Z"), "").contains("not believed"));
        assert!(text(None, "").contains("no readable time"));
        assert!(text(None, "max-age=3").contains("allows less: the ttl is 3s"));
    }
}
