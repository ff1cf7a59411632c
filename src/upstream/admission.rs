//! Admission of calls to the origin: the circuit breakers, the quota's rest, the pace and the limit of concurrent calls,
//! in this order.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::attempt_outcome::AttemptOutcome;
use super::breaker::{BreakerState, Limits};
use super::breakers::{BreakerPermits, Breakers};
use super::fleet_pace::FleetPace;
use super::forbidden_burst::Subject;
use super::pace::{PaceReading, Promise, SlotRequest};
use super::pacer::{PaceSlot, Pacer, SlotEnd};
use super::priority::SharedPriority;
use super::priority_limiter::{LimiterPermit, PriorityLimiter};
use super::{Config, Patience, Throttle, UpstreamError};
use crate::api::{Action, Call};
use crate::observability::metrics::QuotaScope;
use crate::signing::Identity;
use crate::transport::Reply;

/// Admission control of all calls of one gateway.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) pacer: Pacer,
    limiter: PriorityLimiter,
    pub(super) breakers: Mutex<Breakers>,
    signer: Mutex<LastSigner>,
    /// Hasher of the keys under which refused calls keep their reservations.
    keys: RandomState,
    /// Time for a call and its retries, from the first slot on.
    call_deadline: Duration,
}

/// Call that asks for admission.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applicant<'a> {
    pub(super) call: &'a Call,
    /// Client whose turn the call takes.
    pub(super) client: &'a str,
    pub(super) priority: &'a SharedPriority,
    pub(super) patience: Patience,
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
    admission: &'a Admission,
    subject: Subject,
    request: SlotRequest,
    permits: BreakerPermits,
    outcome: AttemptOutcome,
    /// `None` after the call has been sent and no slot could be had to send it again.
    slot: Option<PaceSlot>,
    _permit: LimiterPermit,
    /// Deadline of the call and its retries.
    pub(super) deadline: Instant,
}

impl Admission {
    pub(super) fn new(config: &Config, fleet: Option<Arc<dyn FleetPace>>) -> Self {
        let limits = Limits {
            failures: config.breaker_failures,
            pause: config.breaker_pause.0,
            max_pause: config.breaker_max_pause.0,
        };
        Self {
            pacer: Pacer::new(config, fleet),
            limiter: PriorityLimiter::new(config.max_in_flight as usize, config.max_queue as usize),
            breakers: Mutex::new(Breakers::new(limits)),
            signer: Mutex::default(),
            keys: RandomState::new(),
            call_deadline: config.deadline.0,
        }
    }

    /// Takes note of the credential that signs from now on; another one than before lets open breakers probe at once.
    pub(super) fn credential_in_use(&self, identity: &Identity) {
        if let Some(is_renewal) = self.signer.lock().changes_to(identity) {
            let now = Instant::now();
            self.breakers.lock().credential_changed(is_renewal, now);
        }
    }

    /// Waits for a slot. A call that an open breaker would reject anyway does not wait first. `deadline` is that of a
    /// call which has been sent before; it then goes first among the calls of its priority.
    ///
    /// # Errors
    /// The breaker's error; [`UpstreamError::Overloaded`] and, in a throttle window, [`UpstreamError::Throttled`] for a
    /// wait that is too long, a full queue or a reserved quota; [`UpstreamError::Timeout`] past the deadline. Nothing
    /// was sent then.
    pub(super) async fn admit(
        &self,
        applicant: Applicant<'_>,
        deadline: Option<Instant>,
    ) -> Result<CallPermit<'_>, UpstreamError> {
        let (now, subject) = (Instant::now(), Subject::of(applicant.call));
        self.check(&subject, applicant.priority, now)?;
        let request = SlotRequest {
            is_again: deadline.is_some(),
            ..self.slot_request(applicant)
        };
        let leave_at = applicant.patience.leaves_queue_at(now);
        let leave_at = deadline.map_or(leave_at, |deadline| deadline.min(leave_at));
        let slot = self
            .pacer
            .acquire(subject.action, request.clone(), leave_at)
            .await;
        let mut slot = slot.map_err(|wait| self.refusal(subject.action, wait))?;
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.call_deadline);
        let permit = self.limiter.acquire(applicant.priority, applicant.client);
        let permit = timeout_at(deadline, permit).await;
        let permit = permit
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|_| UpstreamError::Overloaded(FULL_LIMITER_WAIT))?;
        // Asked again: a breaker may have opened while the call waited.
        let permits = self.breakers.lock().admit(&subject, Instant::now())?;
        slot.set_end(SlotEnd::Unanswered);
        Ok(CallPermit {
            admission: self,
            subject,
            request,
            permits,
            outcome: AttemptOutcome::Abandoned,
            slot: Some(slot),
            _permit: permit,
            deadline,
        })
    }

    fn check(
        &self,
        subject: &Subject,
        priority: &SharedPriority,
        now: Instant,
    ) -> Result<(), UpstreamError> {
        let breakers = self.breakers.lock();
        if let Some(error) = breakers.rejection(subject, now) {
            return Err(error);
        }
        let quota = &breakers.operation(subject.action).quota;
        let paced = self.paced_scope(subject.action);
        match quota.reserved_for(priority.now(), paced, now) {
            Some(wait) => Err(UpstreamError::Overloaded(wait)),
            None => Ok(()),
        }
    }

    /// Returns the scope of the quota that the pace divides among an operation's calls.
    pub(super) fn paced_scope(&self, action: Action) -> Option<QuotaScope> {
        let reading = self.pacer.reading(action);
        reading.map(|_| QuotaScope::UserApi)
    }

    /// Returns the wait that the queue promises a call which is not made, such as one that is answered from memory.
    ///
    /// # Errors
    /// The error that the call would be refused with for want of a slot.
    pub(super) fn promise(&self, applicant: Applicant<'_>) -> Result<Duration, UpstreamError> {
        let action = applicant.call.operation.action();
        match self.pacer.promise(action, &self.slot_request(applicant)) {
            Promise::Now => Ok(Duration::ZERO),
            Promise::Wait(wait) => Ok(wait),
            Promise::Refused(wait) => Err(self.refusal(action, wait)),
        }
    }

    /// Reserves a moment for a call that was throttled, or that left the queue without a slot, and returns the time
    /// until then.
    pub(super) fn reserve(&self, applicant: Applicant<'_>) -> Duration {
        let action = applicant.call.operation.action();
        self.pacer.reserve(action, &self.slot_request(applicant))
    }

    /// Returns the time after which another replica's call should be over, if the fleet's slots were all taken lately.
    pub(super) fn late_elsewhere(&self, action: Action) -> Option<Duration> {
        self.pacer.late_elsewhere(action)
    }

    /// Returns the error of a call without a slot: in a throttle window the origin's own.
    pub(super) fn refusal(&self, action: Action, wait: Duration) -> UpstreamError {
        if self.pacer.throttled_for(action).is_none() {
            return UpstreamError::Overloaded(wait);
        }
        UpstreamError::Throttled(Throttle {
            error: self.breakers.lock().operation(action).throttle.clone(),
            wait: Some(wait),
        })
    }

    /// Returns the state of an operation's pace; `None` for an operation without a limit.
    pub(super) fn pace(&self, action: Action) -> Option<PaceReading> {
        self.pacer.reading(action)
    }

    fn slot_request(&self, applicant: Applicant<'_>) -> SlotRequest {
        let (call, client) = (applicant.call, applicant.client);
        let identity = (client, call.operation.path(), call.query.canonical());
        SlotRequest {
            priority: applicant.priority.clone(),
            client: client.into(),
            key: self.keys.hash_one(identity),
            is_again: false,
            deadline: applicant.patience.deadline(),
        }
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
}

impl LastSigner {
    /// Stores a credential's fingerprint. Returns whether it renews the former one, or `None` where it is the same.
    fn changes_to(&mut self, identity: &Identity) -> Option<bool> {
        let fingerprint = self.hasher.hash_one(identity.secrets());
        let before = self.fingerprint.replace(fingerprint);
        let was_temporary = std::mem::replace(&mut self.is_temporary, identity.is_temporary());
        let is_another = before.is_some_and(|before| before != fingerprint);
        is_another.then_some(was_temporary && self.is_temporary)
    }
}

impl CallPermit<'_> {
    /// Waits until `deadline` for a slot to send the call once more, and gives the former one back. Returns whether
    /// there is one.
    pub(super) async fn take_another_slot(&mut self, deadline: Instant) -> bool {
        self.slot = None;
        let request = SlotRequest {
            is_again: true,
            deadline: None,
            ..self.request.clone()
        };
        let pacer = &self.admission.pacer;
        let slot = pacer.acquire(self.subject.action, request, deadline).await;
        let slot = slot.ok().map(|mut slot| {
            slot.set_end(SlotEnd::Unanswered);
            slot
        });
        self.slot = slot;
        self.slot.is_some()
    }

    /// Sets the outcome that the breakers and the pace record when this is dropped.
    pub(super) fn finish(mut self, outcome: AttemptOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        let breakers = &self.admission.breakers;
        let (mut breakers, now) = (breakers.lock(), Instant::now());
        breakers.record(&self.subject, self.permits, &self.outcome, now);
        let operation = breakers.operation_mut(self.subject.action);
        let end = operation.slot_end(&self.outcome, now);
        drop(breakers);
        if let Some(slot) = &mut self.slot {
            slot.set_end(end);
        }
    }
}

/// Time to come back after, for a call that finds the queue for concurrent calls full.
const FULL_LIMITER_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::Credentials;

    fn key(id: &str, secret: &str, token: Option<&str>) -> Identity {
        Identity::Key(Credentials {
            access_key_id: id.to_owned(),
            access_key_secret: secret.into(),
            security_token: token.map(Into::into),
        })
    }

    #[test]
    fn another_credential_is_distinguished_from_the_same_and_from_a_renewal() {
        let mut signer = LastSigner::default();
        for (at, (next, expected)) in [
            (key("a", "s", None), None),
            (key("a", "s", None), None),
            (key("a", "t", None), Some(false)),
            (key("STS.1", "s", Some("1")), Some(false)),
            (key("STS.2", "s", Some("2")), Some(true)),
            (key("STS.2", "s", Some("2")), None),
            (key("a", "t", None), Some(false)),
            (Identity::Bearer("one".into()), Some(false)),
            (Identity::Bearer("one".into()), None),
            (Identity::Bearer("two".into()), Some(true)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(signer.changes_to(&next), expected, "{at}");
        }
    }
}
