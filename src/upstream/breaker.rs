//! Circuit breaker as a value, without a clock or a lock: it rejects calls that would only fail.
//!
//! - **closed**: every call is admitted; [`Limits::failures`] in a row open the breaker;
//! - **open**: no call is admitted until a pause has passed, which doubles with each failed probe;
//! - **probing**: one call is admitted; its success closes the breaker, its failure opens it again.

use std::time::Duration;

use tokio::time::Instant;

/// Thresholds of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of failures in a row that open the breaker.
    pub failures: u32,
    /// Pause after the breaker opens, before the first probe.
    pub pause: Duration,
    /// Bound on the pause, which doubles with each failed probe.
    pub max_pause: Duration,
}

/// State of a breaker; its name is the `state` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls are admitted.
    Closed,
    /// Calls are rejected.
    Open,
    /// One call is under way as a probe, or the next one will be.
    Probing,
}

impl BreakerState {
    /// Every state, in the order of the discriminants.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::Probing];

    /// Returns the metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// Permission of one call, to be handed back with its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerPermit {
    /// Ordinary call of a closed breaker.
    Call,
    /// The single call that tries whether the origin works again.
    Probe,
}

/// Outcome of an admitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The origin answered, with success or with an error of the client's.
    Answered,
    /// The origin did not answer, or with an error of its own.
    Failed,
    /// The call ended without saying anything about this breaker's subject. A probe that ends so is repeated
    /// after the same pause.
    Inconclusive,
    /// The caller went away before the call ended.
    Abandoned,
}

/// Rejection of a call because the origin fails, and the pause or a probe is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected;

/// The breaker. The caller passes the time in, and serializes access.
#[derive(Debug)]
pub struct Breaker {
    limits: Limits,
    failures: u32,
    pause: Duration,
    open_until: Option<Instant>,
    probing: bool,
}

impl Breaker {
    /// Creates a closed breaker.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            failures: 0,
            pause: limits.pause,
            open_until: None,
            probing: false,
        }
    }

    /// Returns whether a call would be rejected now, without admitting one.
    #[must_use]
    pub fn is_rejecting(&self, now: Instant) -> bool {
        self.open_until
            .is_some_and(|until| self.probing || now < until)
    }

    /// Admits a call. The caller must [record](Self::record) its outcome, or a probe would block all others.
    ///
    /// # Errors
    /// [`Rejected`] while the breaker is open or a probe is under way.
    pub fn admit(&mut self, now: Instant) -> Result<BreakerPermit, Rejected> {
        if self.is_rejecting(now) {
            return Err(Rejected);
        }
        self.probing = self.open_until.is_some();
        Ok(if self.probing {
            BreakerPermit::Probe
        } else {
            BreakerPermit::Call
        })
    }

    /// Records the outcome of an admitted call.
    pub fn record(&mut self, permit: BreakerPermit, outcome: CallOutcome, now: Instant) {
        // Only the probe's own outcome ends probing; calls from before the opening may still come back.
        self.probing &= permit != BreakerPermit::Probe;
        match outcome {
            CallOutcome::Answered => {
                (self.failures, self.pause) = (0, self.limits.pause);
                self.open_until = None;
            }
            CallOutcome::Failed => self.fail(permit, now),
            CallOutcome::Inconclusive if permit == BreakerPermit::Probe => {
                self.open_until = Some(now + self.pause)
            }
            CallOutcome::Inconclusive | CallOutcome::Abandoned => {}
        }
    }

    /// Makes the next call a probe at once, because the cause of the failures has changed, for example the
    /// credential.
    pub fn probe_now(&mut self, now: Instant) {
        self.open_until = self.open_until.min(Some(now));
    }

    /// Counts a failure. Calls that were under way when the breaker opened do not lengthen the pause.
    fn fail(&mut self, permit: BreakerPermit, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if permit == BreakerPermit::Probe {
            self.pause = (self.pause * 2).min(self.limits.max_pause);
            self.open_until = Some(now + self.pause);
        } else if self.open_until.is_none() && self.failures >= self.limits.failures {
            self.open_until = Some(now + self.pause);
        }
    }

    /// Returns the state at `now`.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(_) if self.probing || !self.is_rejecting(now) => BreakerState::Probing,
            Some(_) => BreakerState::Open,
        }
    }
}

#[cfg(test)]
mod tests;
