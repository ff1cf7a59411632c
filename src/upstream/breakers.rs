//! Breakers that hold calls back, each for its own reason, so that one operation's trouble is not another's.
//!
//! - shared by all operations: connect and TLS failures; refusals of the key, until a call is accepted or the
//!   credential changes, which lets one call probe at once;
//! - one for each operation: failures after connecting and the origin's throttle windows; and refusals of permission
//!   for the operation as a whole;
//! - one for each subject: a workspace that may not be searched, and an image that the origin goes on complaining
//!   about.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::forbidden_burst::{AnsweredSubjects, ForbiddenBurst, Subject};
use super::quota::Quota;
use super::{Attempt, Throttle, UpstreamError, Verdict};
use crate::api::{Action, OriginError};
use crate::breaker::{Breaker, BreakerPermit, BreakerState, CallOutcome, Limits, Rejected};
use crate::observability::metrics::HoldReason;
use crate::transport::TransportError;

/// Pause after a throttle that names none.
const UNNAMED_THROTTLE: Duration = Duration::from_secs(1);
/// Subjects that are held back or complained about at once; beyond it none is added.
const MAX_SUBJECTS: usize = 1024;

/// Every breaker of one gateway.
#[derive(Debug)]
pub(super) struct Breakers {
    limits: Limits,
    connection: Breaker,
    key: CauseBreaker<String>,
    operations: [OperationBreakers; Action::ALL.len()],
    subjects: HashMap<Subject, CauseBreaker<OriginError>>,
    answered: AnsweredSubjects,
}

/// Breaker with the latest refusal that it holds calls back for.
#[derive(Debug)]
struct CauseBreaker<T> {
    breaker: Breaker,
    refusal: T,
}

/// BreakerState of one operation.
#[derive(Debug)]
pub(super) struct OperationBreakers {
    calls: Breaker,
    throttle_code: String,
    permission: CauseBreaker<String>,
    refusals: ForbiddenBurst,
    pub(super) quota: Quota,
    pub(super) is_used: bool,
}

/// Places of one call in the breakers that it passed. It must be recorded how it ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct BreakerPasses {
    connection: BreakerPermit,
    key: BreakerPermit,
    calls: BreakerPermit,
    permission: BreakerPermit,
    subject: Option<BreakerPermit>,
}

/// End of a call, as far as the breakers are concerned.
#[derive(Debug, Clone)]
pub(super) enum AttemptOutcome {
    /// The API answered about what was asked; with 200, or that there is no such image.
    Answered {
        /// Whether it was a 200.
        is_success: bool,
    },
    /// The API complains about this request or refuses this subject.
    Refused {
        error: OriginError,
        /// Whether permission is refused.
        is_denied: bool,
    },
    /// The operation is not permitted to the credential.
    NotPermitted(String),
    /// The key, its signature or token is refused.
    KeyRefused(String),
    /// The origin throttles.
    Throttled(Throttle),
    /// The origin failed, and the connection did not.
    Failed,
    /// Nothing came over a connection, or it broke.
    Silent,
    /// Something that is not the API answered with a status below 500.
    Foreign,
    /// No connection could be made.
    Unreachable,
    /// The connection works, and nothing else is known.
    Undecided,
    /// Nobody learnt how it ended.
    Abandoned,
}

impl AttemptOutcome {
    /// Reads an outcome. `is_final` is false for a refusal that a new signature may mend.
    pub(super) fn of(outcome: &Result<Attempt, UpstreamError>, is_final: bool) -> Self {
        match outcome {
            Ok(attempt) => match &attempt.verdict {
                Verdict::Ok(_) => Self::Answered { is_success: true },
                Verdict::Forbidden(error) => Self::Refused {
                    error: error.clone(),
                    is_denied: true,
                },
                Verdict::ClientError(error) => Self::Refused {
                    error: error.clone(),
                    is_denied: false,
                },
                Verdict::Permission(error) => Self::NotPermitted(error.code.clone()),
                Verdict::Credential(error) if is_final => Self::KeyRefused(error.code.clone()),
                Verdict::Credential(_) => Self::Undecided,
                Verdict::Throttled(throttle) => Self::Throttled(throttle.clone()),
                Verdict::ServerError(_) | Verdict::Unreadable => Self::Failed,
                Verdict::Foreign(_) => Self::Foreign,
                Verdict::Parent(fault) if fault.is_its_own() => Self::Failed,
                Verdict::NotFound(_) | Verdict::Parent(_) => Self::Answered { is_success: false },
            },
            Err(UpstreamError::Transport(error)) => match **error {
                TransportError::Connect(_) => Self::Unreachable,
                TransportError::TooLong => Self::Undecided,
                TransportError::Encoding => Self::Failed,
                TransportError::Stale(_) | TransportError::Connection(_) => Self::Silent,
                TransportError::Request(_) => Self::Abandoned,
            },
            Err(UpstreamError::Timeout) => Self::Silent,
            Err(_) => Self::Abandoned,
        }
    }

    const fn connection(&self) -> CallOutcome {
        match self {
            Self::Unreachable => CallOutcome::Failed,
            Self::Silent => CallOutcome::Inconclusive,
            Self::Abandoned => CallOutcome::Abandoned,
            _ => CallOutcome::Answered,
        }
    }

    const fn key(&self) -> CallOutcome {
        match self {
            Self::KeyRefused(_) => CallOutcome::Failed,
            Self::Answered { .. } | Self::Refused { .. } | Self::NotPermitted(_) => {
                CallOutcome::Answered
            }
            Self::Abandoned => CallOutcome::Abandoned,
            _ => CallOutcome::Inconclusive,
        }
    }

    fn calls(&self, action: Action) -> CallOutcome {
        match self {
            Self::Failed | Self::Silent => CallOutcome::Failed,
            // One client's odd search must not hold back another's.
            Self::Foreign if action == Action::GetImage => CallOutcome::Failed,
            Self::Throttled(throttle) => {
                CallOutcome::Throttled(throttle.wait.unwrap_or(UNNAMED_THROTTLE))
            }
            Self::Answered { .. } | Self::Refused { .. } | Self::NotPermitted(_) => {
                CallOutcome::Answered
            }
            Self::Abandoned => CallOutcome::Abandoned,
            Self::KeyRefused(_) | Self::Foreign | Self::Unreachable | Self::Undecided => {
                CallOutcome::Inconclusive
            }
        }
    }

    /// `doubles` is false where the refused subject was never answered: asking for forbidden ids does not lengthen
    /// the pause.
    fn permission(&self, pass: BreakerPermit, doubles: bool) -> CallOutcome {
        match self {
            Self::NotPermitted(_) if pass == BreakerPermit::Probe && !doubles => {
                CallOutcome::Inconclusive
            }
            Self::NotPermitted(_) => CallOutcome::Failed,
            Self::Answered { .. } => CallOutcome::Answered,
            Self::Abandoned => CallOutcome::Abandoned,
            _ => CallOutcome::Inconclusive,
        }
    }
}

impl Breakers {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            connection: Breaker::new(limits),
            key: CauseBreaker::new(limits, String::new()),
            operations: std::array::from_fn(|_| OperationBreakers::new(limits)),
            subjects: HashMap::new(),
            answered: AnsweredSubjects::default(),
        }
    }

    /// The reason why a call would be held back now.
    pub(super) fn held(&self, subject: &Subject, now: Instant) -> Option<UpstreamError> {
        if self.connection.rejection(now).is_some() {
            return Some(UpstreamError::CircuitOpen);
        }
        if self.key.breaker.rejection(now).is_some() {
            return Some(UpstreamError::Credential(self.key.refusal.clone()));
        }
        let operation = self.operation(subject.action);
        if operation.permission.breaker.rejection(now).is_some() {
            let code = operation.permission.refusal.clone();
            return Some(UpstreamError::Credential(code));
        }
        match operation.calls.rejection(now) {
            Some(Rejected::Failing) => return Some(UpstreamError::CircuitOpen),
            Some(Rejected::Throttled(left)) => {
                return Some(UpstreamError::Throttled(Throttle {
                    code: operation.throttle_code.clone(),
                    wait: Some(left),
                }));
            }
            None => {}
        }
        let subject_breaker = self.subjects.get(subject)?;
        let held = subject_breaker.breaker.rejection(now);
        held.map(|_| UpstreamError::Refused(subject_breaker.refusal.clone()))
    }

    /// Lets a call go, or says why not.
    pub(super) fn admit(
        &mut self,
        subject: &Subject,
        now: Instant,
    ) -> Result<BreakerPasses, UpstreamError> {
        if let Some(error) = self.held(subject, now) {
            return Err(error);
        }
        let all = |_: Rejected| UpstreamError::CircuitOpen;
        let connection = self.connection.admit(now).map_err(all)?;
        let key = self.key.breaker.admit(now).map_err(all)?;
        let operation = self.operation_mut(subject.action);
        let calls = operation.calls.admit(now).map_err(all)?;
        let permission = operation.permission.breaker.admit(now).map_err(all)?;
        let subject = match self.subjects.get_mut(subject) {
            Some(subject_breaker) => Some(subject_breaker.breaker.admit(now).map_err(all)?),
            None => None,
        };
        Ok(BreakerPasses {
            connection,
            key,
            calls,
            permission,
            subject,
        })
    }

    /// Learns how an admitted call ended.
    pub(super) fn record(
        &mut self,
        subject: &Subject,
        passes: BreakerPasses,
        outcome: &AttemptOutcome,
        now: Instant,
    ) {
        let was_answered = self.answered.has(subject);
        self.connection
            .record(passes.connection, outcome.connection(), now);
        self.key.breaker.record(passes.key, outcome.key(), now);
        if let AttemptOutcome::KeyRefused(code) = outcome {
            self.key.refusal.clone_from(code);
        }
        let operation = self.operation_mut(subject.action);
        operation.record(subject.action, passes, outcome, was_answered, now);
        if let AttemptOutcome::Answered { is_success: true } = outcome {
            self.answered.note(subject);
        }
        self.record_subject(subject, passes, outcome, now);
    }

    /// A refusal of a search and repeated complaints about an image are kept; a complaint about a search is that
    /// search's alone, and a refusal of an image is remembered by the cache.
    fn record_subject(
        &mut self,
        subject: &Subject,
        passes: BreakerPasses,
        outcome: &AttemptOutcome,
        now: Instant,
    ) {
        let pass = passes.subject.unwrap_or(BreakerPermit::Call);
        match outcome {
            AttemptOutcome::Answered { .. } => {
                self.subjects.remove(subject);
            }
            AttemptOutcome::Refused { error, is_denied } if subject.keeps(*is_denied) => {
                if !self.subjects.contains_key(subject) && !self.has_room(now) {
                    return;
                }
                let mut limits = self.limits;
                if *is_denied {
                    limits.failures = 1;
                }
                let subject_breaker = self.subjects.entry(subject.clone());
                let subject_breaker =
                    subject_breaker.or_insert_with(|| CauseBreaker::new(limits, error.clone()));
                subject_breaker.refusal.clone_from(error);
                subject_breaker
                    .breaker
                    .record(pass, CallOutcome::Failed, now);
            }
            _ => {
                let signal = match outcome {
                    AttemptOutcome::Abandoned => CallOutcome::Abandoned,
                    _ => CallOutcome::Inconclusive,
                };
                if let Some(subject_breaker) = self.subjects.get_mut(subject) {
                    subject_breaker.breaker.record(pass, signal, now);
                }
            }
        }
    }

    /// Makes room by forgetting the subjects that are not held back.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.subjects.len() >= MAX_SUBJECTS {
            self.subjects
                .retain(|_, subject_breaker| subject_breaker.breaker.rejection(now).is_some());
        }
        self.subjects.len() < MAX_SUBJECTS
    }

    /// Notes a refusal of permission, and returns whether it concerns the whole operation.
    pub(super) fn concerns_the_operation(&mut self, subject: &Subject, now: Instant) -> bool {
        let was_answered = self.answered.has(subject);
        let operation = self.operation_mut(subject.action);
        let concerns = operation.refusals.note(&subject.id, was_answered, now);
        let is_held = operation.permission.breaker.state(now) != BreakerState::Closed;
        concerns || (was_answered && is_held)
    }

    /// Lets one call probe at once where the former credential was refused. A renewed credential of the same role
    /// keeps what is known of its permissions.
    pub(super) fn credential_changed(&mut self, is_renewal: bool, now: Instant) {
        self.key.breaker.probe_now(now);
        for operation in &mut self.operations {
            operation.permission.breaker.probe_now(now);
            if !is_renewal {
                operation.refusals.credential_changed();
            }
        }
        for subject_breaker in self.subjects.values_mut() {
            subject_breaker.breaker.probe_now(now);
        }
    }

    /// BreakerState of the shared breaker: the worse of its two.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match (self.connection.state(now), self.key.breaker.state(now)) {
            (BreakerState::Open, _) | (_, BreakerState::Open) => BreakerState::Open,
            (BreakerState::Probing, _) | (_, BreakerState::Probing) => BreakerState::Probing,
            (BreakerState::Closed, BreakerState::Closed) => BreakerState::Closed,
        }
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
            throttle_code: String::new(),
            permission: CauseBreaker::new(at_once, String::new()),
            refusals: ForbiddenBurst::default(),
            quota: Quota::default(),
            is_used: false,
        }
    }

    fn record(
        &mut self,
        action: Action,
        passes: BreakerPasses,
        outcome: &AttemptOutcome,
        was_answered: bool,
        now: Instant,
    ) {
        self.is_used = true;
        self.calls.record(passes.calls, outcome.calls(action), now);
        let permission = outcome.permission(passes.permission, was_answered);
        self.permission
            .breaker
            .record(passes.permission, permission, now);
        match outcome {
            AttemptOutcome::Answered { is_success: true } => self.refusals.succeeded(),
            AttemptOutcome::NotPermitted(code) => self.permission.refusal.clone_from(code),
            AttemptOutcome::Throttled(throttle) => self.throttle_code.clone_from(&throttle.code),
            _ => {}
        }
    }

    /// BreakerState of the operation's breakers: the worse of them.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match (self.calls.state(now), self.permission.breaker.state(now)) {
            (BreakerState::Open, _) | (_, BreakerState::Open) => BreakerState::Open,
            (BreakerState::Probing, _) | (_, BreakerState::Probing) => BreakerState::Probing,
            (BreakerState::Closed, BreakerState::Closed) => BreakerState::Closed,
        }
    }

    /// Whether the operation is held back for this reason.
    pub(super) fn is_held(&self, reason: HoldReason, now: Instant) -> bool {
        let calls = self.calls.rejection(now);
        match reason {
            HoldReason::Failing => calls == Some(Rejected::Failing),
            HoldReason::Throttled => matches!(calls, Some(Rejected::Throttled(_))),
            HoldReason::Permission => self.permission.breaker.rejection(now).is_some(),
            HoldReason::Quota => self.quota.is_kept(now),
        }
    }
}

impl<T> CauseBreaker<T> {
    const fn new(limits: Limits, refusal: T) -> Self {
        Self {
            breaker: Breaker::new(limits),
            refusal,
        }
    }
}

#[cfg(test)]
mod tests;
