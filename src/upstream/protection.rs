//! What stands between a call and the origin: the quota, the queue, the breaker.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::gate::{Gate, Permit};
use super::quota::{Quota, Reading, Scope};
use super::{Attempt, Config, UpstreamError, Verdict};
use crate::breaker::{self, Breaker, Held, Pass, Signal};
use crate::priority::Urgency;
use crate::transport::Reply;

/// A throttle that names no time.
const UNNAMED_THROTTLE: Duration = Duration::from_secs(1);

/// Decides which calls go.
#[derive(Debug)]
pub(super) struct Protection {
    gate: Gate,
    breaker: Mutex<Breaker>,
    quota: Mutex<Quota>,
}

/// A call that may go. Dropped untold, it frees its place all the same.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    breaker: &'a Mutex<Breaker>,
    pass: Pass,
    signal: Signal,
    _permit: Permit,
}

impl Protection {
    pub(super) fn new(config: &Config) -> Self {
        let limits = breaker::Limits {
            failures: config.breaker_failures,
            pause: config.breaker_pause.0,
            max_pause: config.breaker_max_pause.0,
        };
        Self {
            gate: Gate::new(config.max_in_flight as usize, config.max_queue as usize),
            breaker: Mutex::new(Breaker::new(limits)),
            quota: Mutex::default(),
        }
    }

    /// Waits for a turn. A call that would be held back afterwards does not wait first.
    pub(super) async fn admit(
        &self,
        urgency: &Urgency,
        deadline: Instant,
    ) -> Result<Admitted<'_>, UpstreamError> {
        let now = Instant::now();
        if let Some(held) = self.breaker.lock().held(now) {
            return Err(held.into());
        }
        if !self.quota.lock().allows(urgency.now(), now) {
            return Err(UpstreamError::Shed);
        }
        let turn = timeout_at(deadline, self.gate.enter(urgency)).await;
        let permit = turn
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|_| UpstreamError::Shed)?;
        let pass = self.breaker.lock().admit(Instant::now())?;
        Ok(Admitted {
            breaker: &self.breaker,
            pass,
            signal: Signal::Abandoned,
            _permit: permit,
        })
    }

    /// Reads the quota off an answer.
    pub(super) fn learn(&self, reply: &Reply) -> Vec<(Scope, Reading)> {
        self.quota.lock().learn(reply, Instant::now())
    }

    /// Calls left by scope, as the origin last said.
    pub(super) fn quota(&self) -> Vec<(&'static str, u64)> {
        self.quota.lock().remaining().collect()
    }

    pub(super) fn state(&self) -> breaker::State {
        self.breaker.lock().state(Instant::now())
    }
}

impl Admitted<'_> {
    /// Tells how the call ended.
    pub(super) fn tell(mut self, outcome: &Result<Attempt, UpstreamError>) {
        self.signal = match outcome {
            Ok(attempt) => match &attempt.verdict {
                Verdict::Throttled(wait) => Signal::Throttled(wait.unwrap_or(UNNAMED_THROTTLE)),
                Verdict::ServerError(_) | Verdict::Unreadable => Signal::Failed,
                Verdict::Parent(fault) if fault.is_its_own() => Signal::Failed,
                Verdict::Ok(_)
                | Verdict::NotFound(_)
                | Verdict::Forbidden(_)
                | Verdict::ClientError(_)
                | Verdict::Credential(_)
                | Verdict::Parent(_) => Signal::Answered,
            },
            Err(UpstreamError::Timeout | UpstreamError::Transport(_)) => Signal::Failed,
            Err(_) => Signal::Abandoned,
        };
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.breaker
            .lock()
            .record(self.pass, self.signal, Instant::now());
    }
}

impl From<Held> for UpstreamError {
    fn from(held: Held) -> Self {
        match held {
            Held::Throttled(left) => Self::Throttled(Some(left)),
            Held::Failing => Self::HeldBack,
        }
    }
}
