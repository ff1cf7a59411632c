//! Admission of calls to the origin: the breakers, the quota and the queue together.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::breakers::{AttemptOutcome, BreakerPasses, Breakers};
use super::forbidden_burst::Subject;
use super::priority_limiter::{LimiterPermit, PriorityLimiter};
use super::{Config, UpstreamError};
use crate::api::Action;
use crate::breaker::{BreakerState, Limits};
use crate::observability::metrics::{HoldReason, QuotaScope};
use crate::priority::SharedPriority;
use crate::signing::Credentials;
use crate::transport::Reply;

/// Decides which calls go.
#[derive(Debug)]
pub(super) struct Admission {
    limiter: PriorityLimiter,
    breakers: Mutex<Breakers>,
    signer: Mutex<LastSigner>,
}

/// The credential that signed last, as much of it as tells another one apart.
#[derive(Debug, Default)]
struct LastSigner {
    hasher: RandomState,
    /// Fingerprint of id, secret and token; none before the first call.
    print: Option<u64>,
    is_temporary: bool,
}

/// A call that may go. Dropped without an end, it frees its place all the same.
#[derive(Debug)]
pub(super) struct CallPermit<'a> {
    breakers: &'a Mutex<Breakers>,
    subject: Subject,
    passes: BreakerPasses,
    outcome: AttemptOutcome,
    _permit: LimiterPermit,
}

/// BreakerState of one operation, for `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperationStatus {
    /// Where its breaker stands.
    pub breaker: &'static str,
    /// Reasons why calls are held back now.
    pub held: Vec<&'static str>,
    /// Calls left in the account's current period by scope, as the origin last said.
    pub quota: BTreeMap<&'static str, u64>,
}

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        let limits = Limits {
            failures: config.breaker_failures,
            pause: config.breaker_pause.0,
            max_pause: config.breaker_max_pause.0,
        };
        Self {
            limiter: PriorityLimiter::new(config.max_in_flight as usize, config.max_queue as usize),
            breakers: Mutex::new(Breakers::new(limits)),
            signer: Mutex::default(),
        }
    }

    /// Notes which credential signs from now on.
    pub(super) fn signs_with(&self, credentials: &Credentials) {
        if let Some(is_renewal) = self.signer.lock().changes_to(credentials) {
            let now = Instant::now();
            self.breakers.lock().credential_changed(is_renewal, now);
        }
    }

    /// Waits for a turn. A call that would be held back afterwards does not wait first.
    pub(super) async fn admit(
        &self,
        subject: Subject,
        priority: &SharedPriority,
        client: &str,
        deadline: Instant,
    ) -> Result<CallPermit<'_>, UpstreamError> {
        let now = Instant::now();
        {
            let breakers = self.breakers.lock();
            if let Some(error) = breakers.held(&subject, now) {
                return Err(error);
            }
            let quota = &breakers.operation(subject.action).quota;
            if !quota.allows(priority.now(), now) {
                return Err(UpstreamError::Overloaded);
            }
        }
        let turn = timeout_at(deadline, self.limiter.acquire(priority, client)).await;
        let permit = turn
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|_| UpstreamError::Overloaded)?;
        let passes = self.breakers.lock().admit(&subject, Instant::now())?;
        Ok(CallPermit {
            breakers: &self.breakers,
            subject,
            passes,
            outcome: AttemptOutcome::Abandoned,
            _permit: permit,
        })
    }

    /// Notes a refusal of permission, and returns whether it concerns the whole operation.
    pub(super) fn concerns_the_operation(&self, subject: &Subject) -> bool {
        let now = Instant::now();
        self.breakers.lock().concerns_the_operation(subject, now)
    }

    /// Reads the quota off an answer, and returns it by scope.
    pub(super) fn learn(&self, action: Action, reply: &Reply) -> Vec<(QuotaScope, u64)> {
        let mut breakers = self.breakers.lock();
        let quota = &mut breakers.operation_mut(action).quota;
        let readings = quota.learn(reply, Instant::now()).into_iter();
        readings
            .map(|(scope, reading)| (scope, reading.remain))
            .collect()
    }

    /// BreakerState of the breaker that all operations share.
    pub(super) fn state(&self) -> BreakerState {
        self.breakers.lock().state(Instant::now())
    }

    /// States of the shared breaker and of an operation's.
    pub(super) fn states(&self, action: Action) -> (BreakerState, BreakerState) {
        let (breakers, now) = (self.breakers.lock(), Instant::now());
        (breakers.state(now), breakers.operation(action).state(now))
    }

    /// BreakerState of each operation that has been called.
    pub(super) fn operations(&self) -> Vec<(Action, OperationStatus)> {
        let (breakers, now) = (self.breakers.lock(), Instant::now());
        let used = Action::ALL
            .into_iter()
            .filter(|action| breakers.operation(*action).is_used);
        used.map(|action| {
            let operation = breakers.operation(action);
            let held = HoldReason::ALL.into_iter();
            let held = held.filter(|reason| operation.is_held(*reason, now));
            let status = OperationStatus {
                breaker: operation.state(now).as_str(),
                held: held.map(HoldReason::as_str).collect(),
                quota: operation.quota.remaining().collect(),
            };
            (action, status)
        })
        .collect()
    }
}

impl LastSigner {
    /// Takes a credential over. Returns whether it renews the former one, if it is another at all.
    fn changes_to(&mut self, credentials: &Credentials) -> Option<bool> {
        let token = credentials.security_token.as_ref();
        let token = token.map(|token| token.expose_secret());
        let secret = credentials.access_key_secret.expose_secret();
        let parts = (credentials.access_key_id.as_str(), secret, token);
        let print = self.hasher.hash_one(parts);
        let before = self.print.replace(print);
        let was_temporary = std::mem::replace(&mut self.is_temporary, token.is_some());
        let is_another = before.is_some_and(|before| before != print);
        is_another.then_some(was_temporary && self.is_temporary)
    }
}

impl CallPermit<'_> {
    /// Records how the call ended.
    pub(super) fn finish(mut self, outcome: AttemptOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        let mut breakers = self.breakers.lock();
        breakers.record(&self.subject, self.passes, &self.outcome, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(id: &str, secret: &str, token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: id.to_owned(),
            access_key_secret: secret.into(),
            security_token: token.map(Into::into),
        }
    }

    #[test]
    fn another_credential_is_told_from_the_same_and_from_a_renewal() {
        let mut signer = LastSigner::default();
        for (id, secret, token, expected) in [
            ("a", "s", None, None),
            ("a", "s", None, None),
            ("a", "t", None, Some(false)),
            ("STS.1", "s", Some("1"), Some(false)),
            ("STS.2", "s", Some("2"), Some(true)),
            ("STS.2", "s", Some("2"), None),
            ("a", "t", None, Some(false)),
        ] {
            let next = credentials(id, secret, token);
            assert_eq!(signer.changes_to(&next), expected, "{id} {token:?}");
        }
    }
}
