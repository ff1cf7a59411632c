//! A circuit breaker, as a value: it holds back calls that would only fail, or that the origin asked
//! us not to make.
//!
//! - **closed**: calls go; so many failures in a row open it;
//! - **open**: none goes, until a pause is over that doubles with each failed probe;
//! - **probing**: one goes; its success closes the breaker, its failure opens it again.
//!
//! A throttle opens it for the time that the origin names, whatever the state; then one call probes.

use std::time::Duration;

use tokio::time::Instant;

/// Longest throttle believed.
const MAX_THROTTLE: Duration = Duration::from_secs(60);

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The first pause.
    pub pause: Duration,
    /// The longest.
    pub max_pause: Duration,
}

/// Where a breaker stands; the `state` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go.
    Closed,
    /// None goes.
    Open,
    /// One goes, or may.
    Probing,
}

impl BreakerState {
    /// Every state, in the order of the discriminants.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::Probing];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// What an admitted call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerPermit {
    /// One of many.
    Call,
    /// The one that tries whether the origin is back.
    Probe,
}

/// How an admitted call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The origin answered, whatever it said.
    Answered,
    /// It did not, or with an error of its own.
    Failed,
    /// It asks for a pause.
    Throttled(Duration),
    /// The call ended, and says nothing about what this breaker stands for. A probe that ends so is repeated after
    /// the same pause.
    Inconclusive,
    /// Nobody learnt how it ended.
    Abandoned,
}

/// Why a call is rejected, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// The origin asked for a pause of which this much is left.
    Throttled(Duration),
    /// The origin fails.
    Failing,
}

/// The breaker.
#[derive(Debug)]
pub struct Breaker {
    limits: Limits,
    failures: u32,
    pause: Duration,
    throttled_until: Option<Instant>,
    open_until: Option<Instant>,
    probing: bool,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            failures: 0,
            pause: limits.pause,
            throttled_until: None,
            open_until: None,
            probing: false,
        }
    }

    /// Why a call would be rejected back now, if it would.
    #[must_use]
    pub fn rejection(&self, now: Instant) -> Option<Rejected> {
        let throttled = self
            .throttled_until
            .map(|until| until.saturating_duration_since(now));
        match (throttled, self.open_until) {
            (Some(left), _) if !left.is_zero() => Some(Rejected::Throttled(left)),
            (_, Some(until)) if self.probing || now < until => Some(Rejected::Failing),
            _ => None,
        }
    }

    /// Lets a call go, or says why not. Whoever is let go must [`Self::record`] how it ended.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn admit(&mut self, now: Instant) -> Result<BreakerPermit, Rejected> {
        if let Some(rejected) = self.rejection(now) {
            return Err(rejected);
        }
        self.probing = self.open_until.is_some();
        Ok(if self.probing {
            BreakerPermit::Probe
        } else {
            BreakerPermit::Call
        })
    }

    /// Learns how an admitted call ended.
    pub fn record(&mut self, permit: BreakerPermit, outcome: CallOutcome, now: Instant) {
        self.probing &= permit != BreakerPermit::Probe;
        match outcome {
            CallOutcome::Answered => {
                (self.failures, self.pause) = (0, self.limits.pause);
                // A call that was on its way when the origin asked for a pause does not end it.
                if self.throttled_until.is_none_or(|until| until <= now) {
                    self.open_until = None;
                }
            }
            CallOutcome::Failed => self.fail(permit, now),
            CallOutcome::Throttled(wait) => {
                let until = now + wait.min(MAX_THROTTLE);
                self.throttled_until = self.throttled_until.max(Some(until));
                self.open_until = self.open_until.max(Some(until));
            }
            CallOutcome::Inconclusive if permit == BreakerPermit::Probe => {
                self.open_until = Some(now + self.pause)
            }
            CallOutcome::Inconclusive | CallOutcome::Abandoned => {}
        }
    }

    /// Lets the next call probe at once, because what it failed for has changed. A pause that the origin asked for goes on.
    pub fn probe_now(&mut self, now: Instant) {
        self.open_until = self.open_until.min(Some(now));
    }

    /// Calls that were on their way when it opened do not lengthen the pause.
    fn fail(&mut self, permit: BreakerPermit, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if permit == BreakerPermit::Probe {
            self.pause = (self.pause * 2).min(self.limits.max_pause);
            self.open_until = Some(now + self.pause);
        } else if self.open_until.is_none() && self.failures >= self.limits.failures {
            self.open_until = Some(now + self.pause);
        }
    }

    /// Where it stands now.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match (self.rejection(now), self.open_until) {
            (Some(Rejected::Failing), _) if self.probing => BreakerState::Probing,
            (Some(_), _) => BreakerState::Open,
            (None, Some(_)) => BreakerState::Probing,
            (None, None) => BreakerState::Closed,
        }
    }
}

#[cfg(test)]
mod tests;
