//! Admission of calls to the origin: the circuit breakers, the quota and the queue, in this order.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::attempt_outcome::AttemptOutcome;
use super::breaker::{BreakerState, Limits};
use super::breakers::{BreakerPermits, Breakers};
use super::forbidden_burst::Subject;
use super::priority::SharedPriority;
use super::priority_limiter::{LimiterPermit, PriorityLimiter};
use super::{Config, UpstreamError};
use crate::api::Action;
use crate::observability::metrics::{HoldReason, QuotaScope};
use crate::signing::Credentials;
use crate::transport::Reply;

/// Admission control of all calls of one gateway.
#[derive(Debug)]
pub(super) struct Admission {
    limiter: PriorityLimiter,
    breakers: Mutex<Breakers>,
    signer: Mutex<LastSigner>,
}

/// Identity of the credential that signed last: enough to recognize another one, and no secret.
#[derive(Debug, Default)]
struct LastSigner {
    hasher: RandomState,
    /// Fingerprint of id, secret and token; none before the first call.
    fingerprint: Option<u64>,
    is_temporary: bool,
}

/// Permission for one call. Dropping it frees its slot and records its outcome; a call whose caller went away counts
/// as abandoned.
#[derive(Debug)]
pub(super) struct CallPermit<'a> {
    breakers: &'a Mutex<Breakers>,
    subject: Subject,
    permits: BreakerPermits,
    outcome: AttemptOutcome,
    _permit: LimiterPermit,
}

/// State of one operation, for `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperationStatus {
    /// State of its breaker.
    pub breaker: &'static str,
    /// Reasons for which calls are rejected now.
    pub held: Vec<&'static str>,
    /// Calls left in the account's current period by scope, as the origin stated last.
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

    /// Takes note of the credential that signs from now on; another one than before lets open breakers probe at once.
    pub(super) fn credential_in_use(&self, credentials: &Credentials) {
        if let Some(is_renewal) = self.signer.lock().changes_to(credentials) {
            let now = Instant::now();
            self.breakers.lock().credential_changed(is_renewal, now);
        }
    }

    /// Waits for a slot, until `deadline`. A call that an open breaker would reject anyway does not wait first.
    ///
    /// # Errors
    /// The breaker's error; [`UpstreamError::Overloaded`] for a full queue or a reserved quota;
    /// [`UpstreamError::Timeout`] past the deadline. Nothing was sent then.
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
            if let Some(error) = breakers.rejection(&subject, now) {
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
        // Asked again: a breaker may have opened while the call waited.
        let permits = self.breakers.lock().admit(&subject, Instant::now())?;
        Ok(CallPermit {
            breakers: &self.breakers,
            subject,
            permits,
            outcome: AttemptOutcome::Abandoned,
            _permit: permit,
        })
    }

    /// Records a denial, and returns whether it concerns the whole operation rather than its subject.
    pub(super) fn is_operation_denied(&self, subject: &Subject) -> bool {
        let now = Instant::now();
        self.breakers.lock().is_operation_denied(subject, now)
    }

    /// Stores the quota that a response states, and returns it by scope.
    pub(super) fn update_quota(&self, action: Action, reply: &Reply) -> Vec<(QuotaScope, u64)> {
        let mut breakers = self.breakers.lock();
        let quota = &mut breakers.operation_mut(action).quota;
        let readings = quota.update(reply, Instant::now()).into_iter();
        readings
            .map(|(scope, reading)| (scope, reading.remain))
            .collect()
    }

    /// Returns the state of the breaker that all operations share.
    pub(super) fn state(&self) -> BreakerState {
        self.breakers.lock().state(Instant::now())
    }

    /// Returns the states of the shared breaker and of an operation's.
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
            let held = held.filter(|reason| operation.is_rejecting(*reason, now));
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
    /// Stores a credential's fingerprint. Returns whether it renews the former one, or `None` where it is the same.
    fn changes_to(&mut self, credentials: &Credentials) -> Option<bool> {
        let token = credentials.security_token.as_ref();
        let token = token.map(|token| token.expose_secret());
        let secret = credentials.access_key_secret.expose_secret();
        let parts = (credentials.access_key_id.as_str(), secret, token);
        let fingerprint = self.hasher.hash_one(parts);
        let before = self.fingerprint.replace(fingerprint);
        let was_temporary = std::mem::replace(&mut self.is_temporary, token.is_some());
        let is_another = before.is_some_and(|before| before != fingerprint);
        is_another.then_some(was_temporary && self.is_temporary)
    }
}

impl CallPermit<'_> {
    /// Sets the outcome that the breakers record when this is dropped.
    pub(super) fn finish(mut self, outcome: AttemptOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        let mut breakers = self.breakers.lock();
        breakers.record(&self.subject, self.permits, &self.outcome, Instant::now());
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
    fn another_credential_is_distinguished_from_the_same_and_from_a_renewal() {
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
