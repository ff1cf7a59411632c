//! Circuit breakers in front of the origin, one for each cause, so that one operation's failures do not stop another.
//!
//! - Shared by all operations: connect and TLS failures; and rejections of the key, until a call is accepted or the
//!   credential changes, which lets one call probe at once.
//! - One for each operation: failures after connecting; and denials of permission for the operation as a whole.
//! - One for each subject: a workspace that may not be searched, and an image that the origin keeps rejecting.

use std::collections::HashMap;

use tokio::time::Instant;

use super::UpstreamError;
use super::attempt_outcome::AttemptOutcome;
use super::breaker::{Breaker, BreakerPermit, BreakerState, CallOutcome, Limits, Rejected};
use super::forbidden_burst::{AnsweredSubjects, ForbiddenBurst, Subject};
use super::pacer::SlotEnd;
use super::quota::Quota;
use super::unnamed_throttles::UnnamedThrottles;
use crate::api::{Action, OriginError};
use crate::observability::metrics::HoldReason;

/// Number of subjects with a breaker of their own; beyond it none is added.
const MAX_SUBJECTS: usize = 1024;

/// Every breaker of one gateway.
#[derive(Debug)]
pub(super) struct Breakers {
    limits: Limits,
    connection: Breaker,
    key: CauseBreaker,
    operations: [OperationBreakers; Action::ALL.len()],
    subjects: HashMap<Subject, CauseBreaker>,
    answered: AnsweredSubjects,
}

/// Breaker with the latest error that it rejects calls with.
#[derive(Debug)]
struct CauseBreaker {
    breaker: Breaker,
    cause: OriginError,
}

/// Breakers and quota of one operation.
#[derive(Debug)]
pub(super) struct OperationBreakers {
    calls: Breaker,
    /// Latest throttle of the origin.
    pub(super) throttle: OriginError,
    unnamed_throttles: UnnamedThrottles,
    permission: CauseBreaker,
    forbidden: ForbiddenBurst,
    pub(super) quota: Quota,
    pub(super) is_used: bool,
}

/// Permits of one call from each breaker that it passed; they must be recorded with the call's outcome.
#[derive(Debug, Clone, Copy)]
pub(super) struct BreakerPermits {
    connection: BreakerPermit,
    key: BreakerPermit,
    calls: BreakerPermit,
    permission: BreakerPermit,
    subject: Option<BreakerPermit>,
}

impl Breakers {
    /// Closes every breaker; all of them obey the same limits.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            connection: Breaker::new(limits),
            key: CauseBreaker::new(limits, OriginError::default()),
            operations: std::array::from_fn(|_| OperationBreakers::new(limits)),
            subjects: HashMap::new(),
            answered: AnsweredSubjects::default(),
        }
    }

    /// Returns the error that a call would be rejected with now, without taking a probe's turn.
    pub(super) fn rejection(&self, subject: &Subject, now: Instant) -> Option<UpstreamError> {
        if self.connection.is_rejecting(now) {
            return Some(UpstreamError::CircuitOpen);
        }
        if self.key.breaker.is_rejecting(now) {
            return Some(UpstreamError::Credential(self.key.cause.clone()));
        }
        let operation = self.operation(subject.action);
        if operation.permission.breaker.is_rejecting(now) {
            let cause = operation.permission.cause.clone();
            return Some(UpstreamError::Permission(cause));
        }
        if operation.calls.is_rejecting(now) {
            return Some(UpstreamError::CircuitOpen);
        }
        let of_subject = self.subjects.get(subject)?;
        let is_rejecting = of_subject.breaker.is_rejecting(now);
        is_rejecting.then(|| UpstreamError::Refused(of_subject.cause.clone()))
    }

    /// Admits a call past every breaker.
    ///
    /// # Errors
    /// The error that the first open breaker rejects it with.
    pub(super) fn admit(
        &mut self,
        subject: &Subject,
        now: Instant,
    ) -> Result<BreakerPermits, UpstreamError> {
        // Asked first of all: a breaker that lets a probe go counts it, and another one might then reject the call.
        if let Some(error) = self.rejection(subject, now) {
            return Err(error);
        }
        let open = |_: Rejected| UpstreamError::CircuitOpen;
        let connection = self.connection.admit(now).map_err(open)?;
        let key = self.key.breaker.admit(now).map_err(open)?;
        let operation = self.operation_mut(subject.action);
        let calls = operation.calls.admit(now).map_err(open)?;
        let permission = operation.permission.breaker.admit(now).map_err(open)?;
        let subject = match self.subjects.get_mut(subject) {
            Some(of_subject) => Some(of_subject.breaker.admit(now).map_err(open)?),
            None => None,
        };
        Ok(BreakerPermits {
            connection,
            key,
            calls,
            permission,
            subject,
        })
    }

    /// Records the outcome of an admitted call with every breaker.
    pub(super) fn record(
        &mut self,
        subject: &Subject,
        permits: BreakerPermits,
        outcome: &AttemptOutcome,
        now: Instant,
    ) {
        let was_answered = self.answered.contains(subject);
        self.connection
            .record(permits.connection, outcome.connection(), now);
        self.key.breaker.record(permits.key, outcome.key(), now);
        if let AttemptOutcome::KeyRefused(error) = outcome {
            self.key.cause.clone_from(error);
        }
        let operation = self.operation_mut(subject.action);
        operation.record(subject.action, permits, outcome, was_answered, now);
        if let AttemptOutcome::Answered { is_success: true } = outcome {
            self.answered.insert(subject);
        }
        self.record_subject(subject, permits, outcome, now);
    }

    /// Records the outcome with the subject's own breaker, and begins or ends one.
    ///
    /// A denied search and repeated rejections of an image get one. A rejected search does not, because it concerns
    /// that search alone, nor does a denied image, which the cache remembers.
    fn record_subject(
        &mut self,
        subject: &Subject,
        permits: BreakerPermits,
        outcome: &AttemptOutcome,
        now: Instant,
    ) {
        let permit = permits.subject.unwrap_or(BreakerPermit::Call);
        match outcome {
            AttemptOutcome::Answered { .. } => {
                self.subjects.remove(subject);
            }
            AttemptOutcome::Refused { error, is_denied } if subject.has_breaker(*is_denied) => {
                if !self.subjects.contains_key(subject) && !self.has_room(now) {
                    return;
                }
                let mut limits = self.limits;
                if *is_denied {
                    limits.failures = 1;
                }
                let of_subject = self.subjects.entry(subject.clone());
                let of_subject =
                    of_subject.or_insert_with(|| CauseBreaker::new(limits, error.clone()));
                of_subject.cause.clone_from(error);
                of_subject.breaker.record(permit, CallOutcome::Failed, now);
            }
            _ => {
                let signal = match outcome {
                    AttemptOutcome::Abandoned => CallOutcome::Abandoned,
                    _ => CallOutcome::Inconclusive,
                };
                if let Some(of_subject) = self.subjects.get_mut(subject) {
                    of_subject.breaker.record(permit, signal, now);
                }
            }
        }
    }

    /// Returns whether another subject fits in, after dropping those whose breaker is not open.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.subjects.len() >= MAX_SUBJECTS {
            self.subjects
                .retain(|_, of_subject| of_subject.breaker.is_rejecting(now));
        }
        self.subjects.len() < MAX_SUBJECTS
    }

    /// Records a denial, and returns whether it concerns the whole operation rather than its subject.
    pub(super) fn is_operation_denied(&mut self, subject: &Subject, now: Instant) -> bool {
        let was_answered = self.answered.contains(subject);
        let operation = self.operation_mut(subject.action);
        let is_burst = operation.forbidden.record(&subject.id, was_answered, now);
        let is_open = operation.permission.breaker.state(now) != BreakerState::Closed;
        is_burst || (was_answered && is_open)
    }

    /// Lets one call probe at once wherever the former credential was rejected. A renewed credential of the same role
    /// keeps the record of its denials.
    pub(super) fn credential_changed(&mut self, is_renewal: bool, now: Instant) {
        self.key.breaker.probe_now(now);
        for operation in &mut self.operations {
            operation.permission.breaker.probe_now(now);
            if !is_renewal {
                operation.forbidden.credential_changed();
            }
        }
        for of_subject in self.subjects.values_mut() {
            of_subject.breaker.probe_now(now);
        }
    }

    /// Returns the state of the shared breakers: the worse of the two.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        worse(self.connection.state(now), self.key.breaker.state(now))
    }

    pub(super) fn operation(&self, action: Action) -> &OperationBreakers {
        &self.operations[action as usize]
    }

    pub(super) fn operation_mut(&mut self, action: Action) -> &mut OperationBreakers {
        &mut self.operations[action as usize]
    }
}

impl OperationBreakers {
    fn new(limits: Limits) -> Self {
        let at_once = Limits {
            failures: 1,
            ..limits
        };
        Self {
            calls: Breaker::new(limits),
            throttle: OriginError::default(),
            unnamed_throttles: UnnamedThrottles::default(),
            permission: CauseBreaker::new(at_once, OriginError::default()),
            forbidden: ForbiddenBurst::default(),
            quota: Quota::default(),
            is_used: false,
        }
    }

    fn record(
        &mut self,
        action: Action,
        permits: BreakerPermits,
        outcome: &AttemptOutcome,
        was_answered: bool,
        now: Instant,
    ) {
        self.is_used = true;
        self.calls.record(permits.calls, outcome.calls(action), now);
        let permission = outcome.permission(permits.permission, was_answered);
        self.permission
            .breaker
            .record(permits.permission, permission, now);
        if outcome.passed_flow_control() {
            self.unnamed_throttles.accepted();
        }
        match outcome {
            AttemptOutcome::Answered { is_success: true } => self.forbidden.succeeded(),
            AttemptOutcome::NotPermitted(error) => self.permission.cause.clone_from(error),
            AttemptOutcome::Throttled(throttle) => self.throttle.clone_from(&throttle.error),
            _ => {}
        }
    }

    /// Returns how a call ended for its slot. A throttle that names no time has a window by those before it.
    pub(super) fn slot_end(&mut self, outcome: &AttemptOutcome, now: Instant) -> SlotEnd {
        outcome.slot_end(|| self.unnamed_throttles.throttled(now))
    }

    /// Returns the state of the operation's breakers: the worse of the two.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        worse(self.calls.state(now), self.permission.breaker.state(now))
    }

    /// Returns whether one of the operation's breakers rejects calls for this reason.
    pub(super) fn is_rejecting(&self, reason: HoldReason, now: Instant) -> bool {
        match reason {
            HoldReason::Failing => self.calls.is_rejecting(now),
            HoldReason::Permission => self.permission.breaker.is_rejecting(now),
            HoldReason::Throttled | HoldReason::Quota => false,
        }
    }
}

impl CauseBreaker {
    const fn new(limits: Limits, cause: OriginError) -> Self {
        Self {
            breaker: Breaker::new(limits),
            cause,
        }
    }
}

const fn worse(one: BreakerState, other: BreakerState) -> BreakerState {
    match (one, other) {
        (BreakerState::Open, _) | (_, BreakerState::Open) => BreakerState::Open,
        (BreakerState::Probing, _) | (_, BreakerState::Probing) => BreakerState::Probing,
        (BreakerState::Closed, BreakerState::Closed) => BreakerState::Closed,
    }
}

#[cfg(test)]
mod tests;
