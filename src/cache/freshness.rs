//! The ttl of an answer, and its use after that.
//!
//! An image that has not changed for long is unlikely to change soon, so an answer's ttl is a share
//! of its quiet time (RFC 9111 §4.2.2 calls this heuristic freshness):
//!
//! ```text
//! quiet = D - max(GmtModifiedTime, GmtCreateTime)
//! base  = fallback, if neither time is known · min, if more than 5 min in the future · else factor * max(quiet, 0)
//! ttl   = max(clamp(base, min, ceiling) * (1 - jitter * draw), min), then never longer than the origin allows,
//!         nor than the cache that sent it allows
//! ```
//!
//! Labels change without the modification time moving, so the verbose variant has the lower ceiling.
//! Everything here is a function of its arguments: no clock, no randomness, no state.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::HumanDuration;
use crate::upstream::UpstreamFreshness;

/// A modification time so far ahead of the origin's clock is not believed.
const FUTURE_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// The origin's `Date` is used while it is this close to our clock.
const DATE_TOLERANCE: SignedDuration = SignedDuration::from_mins(15);
/// Early refresh never starts before this share of the ttl is left.
const MAX_LEAD: f64 = 0.30;
/// The least time a fetch is assumed to take, as a share of the ttl.
const MIN_DELTA: f64 = 0.02;

/// The `[freshness]` settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Share of the time since the image's last change that an answer stays fresh.
    pub factor: f64,
    /// Shortest ttl.
    pub min: HumanDuration,
    /// Longest ttl of `Verbose=false`.
    pub max: HumanDuration,
    /// Longest ttl of `Verbose=true`, whose labels change unnoticed.
    pub max_verbose: HumanDuration,
    /// Base ttl of an image without a readable time.
    pub fallback: HumanDuration,
    /// Share of the ttl that is drawn away at random, so that equals do not expire together.
    pub jitter: f64,
    /// Shortest time that a stale answer is served while it is fetched again.
    pub stale_while_revalidate_min: HumanDuration,
    /// Longest time that a stale answer is served while it is fetched again.
    pub stale_while_revalidate_max: HumanDuration,
    /// Time that a stale answer is served while the origin fails.
    pub stale_if_error: HumanDuration,
    /// Time that a not-found answer is kept.
    pub not_found: HumanDuration,
    /// Time that a forbidden answer is kept.
    pub forbidden: HumanDuration,
    /// Effect of the origin's `Cache-Control`.
    pub origin_cache_control: OriginCacheControl,
}

/// Effect of the origin's `Cache-Control` on the ttl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OriginCacheControl {
    /// It may shorten the ttl, and `no-store` and `no-cache` are obeyed.
    Respect,
    /// A positive age may shorten the ttl; a blanket `no-store`, `no-cache` or age of zero is counted and ignored.
    Cap,
    /// Nothing.
    Ignore,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            factor: 0.10,
            min: HumanDuration::secs(30),
            max: HumanDuration::secs(3600),
            max_verbose: HumanDuration::secs(900),
            fallback: HumanDuration::secs(60),
            jitter: 0.10,
            stale_while_revalidate_min: HumanDuration::secs(30),
            stale_while_revalidate_max: HumanDuration::secs(600),
            stale_if_error: HumanDuration::secs(24 * 3600),
            not_found: HumanDuration::secs(10),
            forbidden: HumanDuration::secs(5),
            origin_cache_control: OriginCacheControl::Cap,
        }
    }
}

/// The values that a ttl is decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// `GmtModifiedTime`, where readable.
    pub modified: Option<Timestamp>,
    /// `GmtCreateTime`, where readable.
    pub created: Option<Timestamp>,
    /// The time of the answer: see [`Evidence::date`].
    pub date: Timestamp,
    /// The answer includes labels.
    pub verbose: bool,
    /// The origin's own directives.
    pub directives: Directives,
    /// Uniform in `0.0..1.0`.
    pub draw: f64,
    /// The answer's age and bound when it arrived.
    pub upstream: UpstreamFreshness,
}

impl Evidence {
    /// Returns the time to measure quiet against: the origin's if it is within 15 minutes of ours, else ours.
    #[must_use]
    pub fn date(origin: Option<Timestamp>, ours: Timestamp) -> Timestamp {
        origin
            .filter(|date| date.duration_since(ours).abs() <= DATE_TOLERANCE)
            .unwrap_or(ours)
    }
}

/// The part of `Cache-Control` (RFC 9111 §5.2.2) that bears on keeping an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directives {
    /// `s-maxage`, else `max-age`; where the former is zero, a positive `max-age` beside it.
    pub max_age: Option<Duration>,
    /// `no-store` was present.
    pub no_store: bool,
    /// `no-cache` was present, or an age of zero, which means the same: an answer that is stale at once.
    pub no_cache: bool,
}

impl Directives {
    /// Parses a `Cache-Control` value; unknown directives are ignored.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let (mut found, mut shared) = (Self::default(), None);
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = || {
                argument
                    .trim()
                    .trim_matches('"')
                    .parse()
                    .ok()
                    .map(Duration::from_secs)
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => found.no_store = true,
                "no-cache" => found.no_cache = true,
                "max-age" => found.max_age = seconds(),
                "s-maxage" => shared = seconds(),
                _ => {}
            }
        }
        let positive = |age: &Duration| !age.is_zero();
        let own = found.max_age;
        Self {
            max_age: shared.filter(positive).or(own.filter(positive)),
            no_cache: found.no_cache || shared.or(own).is_some_and(|age| age.is_zero()),
            ..found
        }
    }
}

/// Origin of a ttl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlSource {
    /// A share of the quiet time.
    Heuristic,
    /// Neither time was readable.
    Fallback,
    /// The newer time lies in the future.
    Future,
    /// The origin's `Cache-Control` was shorter, or the ttl at the cache that sent the answer.
    Origin,
}

impl TtlSource {
    /// Returns the spelling of `GET /entries/{id}`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heuristic => "heuristic",
            Self::Fallback => "fallback",
            Self::Future => "future",
            Self::Origin => "origin",
        }
    }
}

/// A ttl and each step to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Time since the image last changed; negative when that lies ahead.
    pub quiet: Option<SignedDuration>,
    /// The ttl before the bounds.
    pub base: Duration,
    /// The rule that decided.
    pub source: TtlSource,
    /// The longest ttl of this variant.
    pub ceiling: Duration,
    /// Factor that the bounded ttl was multiplied by.
    pub jitter: f64,
    /// Age up to which the answer is fresh.
    pub ttl: Duration,
    /// The answer may be stored.
    pub storable: bool,
}

/// Use that an answer of some age may be put to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Younger than its ttl.
    Fresh,
    /// May be served while it is fetched again.
    StaleWhileRevalidate,
    /// May be served only when the origin fails.
    StaleIfError,
    /// May not be served.
    Expired,
}

impl Policy {
    /// Decides the ttl of an answer. Pure: the same evidence always gives the same decision.
    #[must_use]
    pub fn decide(&self, evidence: &Evidence) -> Decision {
        let ceiling = if evidence.verbose {
            self.max_verbose.0
        } else {
            self.max.0
        };
        let newest = evidence.modified.max(evidence.created);
        let quiet = newest.map(|time| evidence.date.duration_since(time));
        let (base, mut source) = match quiet {
            None => (self.fallback.0, TtlSource::Fallback),
            Some(quiet) if quiet < -FUTURE_TOLERANCE => (self.min.0, TtlSource::Future),
            Some(quiet) => (
                Duration::try_from(quiet)
                    .unwrap_or_default()
                    .mul_f64(self.factor),
                TtlSource::Heuristic,
            ),
        };
        let jitter = 1.0 - self.jitter * evidence.draw;
        let heuristic = base
            .min(ceiling)
            .max(self.min.0)
            .mul_f64(jitter)
            .max(self.min.0);
        let cap = evidence.upstream.ttl_cap().unwrap_or(Duration::MAX);
        let allowed = self.allowance(&evidence.directives).min(cap);
        if allowed < heuristic {
            source = TtlSource::Origin;
        }
        Decision {
            quiet,
            base,
            source,
            ceiling,
            jitter,
            ttl: heuristic.min(allowed),
            storable: self.allows_storing(&evidence.directives),
        }
    }

    /// Returns the longest ttl that the origin's directives allow.
    pub(super) fn allowance(&self, directives: &Directives) -> Duration {
        match self.origin_cache_control {
            OriginCacheControl::Ignore => Duration::MAX,
            OriginCacheControl::Respect if directives.no_cache => Duration::ZERO,
            OriginCacheControl::Respect => directives.max_age.unwrap_or(Duration::MAX),
            // An age of zero is in snapshots of versions that kept it apart from no-cache.
            OriginCacheControl::Cap => match directives.max_age {
                None | Some(Duration::ZERO) => Duration::MAX,
                Some(age) => age,
            },
        }
    }

    /// Returns whether an answer with these directives may be stored.
    #[must_use]
    pub fn allows_storing(&self, directives: &Directives) -> bool {
        !(directives.no_store && self.origin_cache_control == OriginCacheControl::Respect)
    }

    /// Returns whether the origin's wish not to store its answer is overruled.
    #[must_use]
    pub const fn ignores(&self, directives: Directives) -> bool {
        (directives.no_store || directives.no_cache)
            && !matches!(self.origin_cache_control, OriginCacheControl::Respect)
    }

    /// Returns the time after its ttl in which an answer is served while it is fetched again.
    #[must_use]
    pub fn stale_while_revalidate(&self, ttl: Duration) -> Duration {
        ttl.max(self.stale_while_revalidate_min.0)
            .min(self.stale_while_revalidate_max.0)
    }

    /// Returns the freshness of an answer of this age and ttl.
    #[must_use]
    pub fn judge(&self, age: Duration, ttl: Duration) -> Freshness {
        let stale = age.saturating_sub(ttl);
        if age < ttl {
            Freshness::Fresh
        } else if stale < self.stale_while_revalidate(ttl) {
            Freshness::StaleWhileRevalidate
        } else if stale < self.stale_if_error.0 {
            Freshness::StaleIfError
        } else {
            Freshness::Expired
        }
    }
}

/// Decides whether to fetch a fresh answer again before it expires (XFetch, Vattani et al. 2015).
///
/// `fetched_in` is the time that the last fetch took; `draw` is uniform in `0.0..1.0` and called only when the
/// answer is close to its end. The lead is `min(max(fetched_in, 2 % ttl) * -ln U, 30 % ttl)`.
pub fn refresh_early(
    age: Duration,
    ttl: Duration,
    fetched_in: Duration,
    draw: impl FnOnce() -> f64,
) -> bool {
    let remaining = ttl.saturating_sub(age);
    // Most hits: without arithmetic on floating point.
    if remaining > ttl / 2 {
        return false;
    }
    let longest = ttl.mul_f64(MAX_LEAD);
    if remaining > longest {
        return false;
    }
    let lead = fetched_in.max(ttl.mul_f64(MIN_DELTA)).as_secs_f64() * -(1.0 - draw()).ln();
    remaining.as_secs_f64() <= lead.min(longest.as_secs_f64())
}

#[cfg(test)]
mod tests;
