//! Outcome of an attempt as the circuit breakers see it, and the signal that it gives each of them.

use std::time::Duration;

use super::breaker::{BreakerPermit, CallOutcome};
use super::pacer::SlotEnd;
use super::{AnswerKind, OriginAnswer, Throttle, UpstreamError};
use crate::api::{Action, OriginError};
use crate::transport::TransportError;

/// Outcome of an attempt, as far as the breakers are concerned.
#[derive(Debug, Clone)]
pub(super) enum AttemptOutcome {
    /// The API answered about the resource, with a 200 or that it does not exist.
    Answered { is_success: bool },
    /// The API rejects this request, or denies this subject.
    Refused { error: OriginError, is_denied: bool },
    /// The credential has no permission for the operation.
    NotPermitted(OriginError),
    /// The key, its signature or its token was rejected.
    KeyRefused(OriginError),
    /// The account's flow control rejected the call.
    Throttled(Throttle),
    /// The origin failed, and the connection did not.
    Failed,
    /// No byte came over an open connection in time, or the connection broke.
    Silent,
    /// A proxy on the way answered with a status below 500.
    Foreign,
    /// No connection could be opened.
    Unreachable,
    /// The connection works; nothing else is known.
    Undecided,
    /// The caller went away, or the call was not sent: nothing is known.
    Abandoned,
}

impl AttemptOutcome {
    /// Reads a result. `is_final` is false for a rejection that a new signature may cure: it must not open a breaker.
    pub(super) fn of(result: &Result<OriginAnswer, UpstreamError>, is_final: bool) -> Self {
        let error = match result {
            Ok(answer) => return Self::of_answer(&answer.kind),
            Err(error) => error,
        };
        match error {
            // A Code about the account may name one workspace only, so it holds back no more than its subject.
            UpstreamError::Refused(error) | UpstreamError::Account(error) => Self::Refused {
                error: error.clone(),
                is_denied: false,
            },
            UpstreamError::Permission(error) => Self::NotPermitted(error.clone()),
            UpstreamError::Credential(error) if is_final => Self::KeyRefused(error.clone()),
            UpstreamError::Credential(_) => Self::Undecided,
            UpstreamError::Throttled(throttle) => Self::Throttled(throttle.clone()),
            UpstreamError::Server(_) | UpstreamError::Unreadable(_) => Self::Failed,
            UpstreamError::Foreign(_) => Self::Foreign,
            UpstreamError::Parent(fault, _) if fault.is_its_own() => Self::Failed,
            UpstreamError::Parent(..) => Self::Answered { is_success: false },
            UpstreamError::Transport(error) => match **error {
                TransportError::Connect(_) => Self::Unreachable,
                TransportError::TooLong => Self::Undecided,
                TransportError::Encoding => Self::Failed,
                TransportError::Stale(_) | TransportError::Connection(_) => Self::Silent,
                TransportError::Request(_) => Self::Abandoned,
            },
            UpstreamError::Timeout => Self::Silent,
            UpstreamError::CircuitOpen
            | UpstreamError::Overloaded(_)
            | UpstreamError::NoCredential => Self::Abandoned,
        }
    }

    fn of_answer(kind: &AnswerKind) -> Self {
        match kind {
            AnswerKind::Success(_) => Self::Answered { is_success: true },
            AnswerKind::NotFound(_) => Self::Answered { is_success: false },
            AnswerKind::Forbidden(error) => Self::Refused {
                error: error.clone(),
                is_denied: true,
            },
        }
    }

    /// Returns the signal for the breaker of the connection, which all operations share.
    pub(super) const fn connection(&self) -> CallOutcome {
        match self {
            Self::Unreachable => CallOutcome::Failed,
            Self::Silent => CallOutcome::Inconclusive,
            Self::Abandoned => CallOutcome::Abandoned,
            Self::Answered { .. }
            | Self::Refused { .. }
            | Self::NotPermitted(_)
            | Self::KeyRefused(_)
            | Self::Throttled(_)
            | Self::Failed
            | Self::Foreign
            | Self::Undecided => CallOutcome::Answered,
        }
    }

    /// Returns the signal for the breaker of the key, which all operations share.
    pub(super) const fn key(&self) -> CallOutcome {
        match self {
            Self::KeyRefused(_) => CallOutcome::Failed,
            Self::Answered { .. } | Self::Refused { .. } | Self::NotPermitted(_) => {
                CallOutcome::Answered
            }
            Self::Abandoned => CallOutcome::Abandoned,
            Self::Throttled(_)
            | Self::Failed
            | Self::Silent
            | Self::Foreign
            | Self::Unreachable
            | Self::Undecided => CallOutcome::Inconclusive,
        }
    }

    /// Returns the signal for the breaker of an operation's failures. A throttle is none: it closes the slots of the pace.
    pub(super) fn calls(&self, action: Action) -> CallOutcome {
        match self {
            Self::Failed | Self::Silent => CallOutcome::Failed,
            // A proxy may object to one client's odd search, which must not hold another's back.
            Self::Foreign if action == Action::GetImage => CallOutcome::Failed,
            Self::Answered { .. } | Self::Refused { .. } | Self::NotPermitted(_) => {
                CallOutcome::Answered
            }
            Self::Abandoned => CallOutcome::Abandoned,
            Self::KeyRefused(_)
            | Self::Throttled(_)
            | Self::Foreign
            | Self::Unreachable
            | Self::Undecided => CallOutcome::Inconclusive,
        }
    }

    /// Returns whether the API dealt with the request itself, so that its flow control let the call pass.
    pub(super) const fn passed_flow_control(&self) -> bool {
        matches!(
            self,
            Self::Answered { .. } | Self::Refused { .. } | Self::NotPermitted(_)
        )
    }

    /// Returns how the call ended for its slot; `window` gives the duration of a throttle that names none.
    pub(super) fn slot_end(&self, window: impl FnOnce() -> Duration) -> SlotEnd {
        match self {
            Self::Throttled(throttle) => SlotEnd::Throttled(throttle.wait.unwrap_or_else(window)),
            Self::Answered { .. }
            | Self::Refused { .. }
            | Self::NotPermitted(_)
            | Self::KeyRefused(_)
            | Self::Failed
            | Self::Foreign => SlotEnd::Answered,
            Self::Silent | Self::Unreachable | Self::Undecided | Self::Abandoned => {
                SlotEnd::Unanswered
            }
        }
    }

    /// Returns the signal for the breaker of an operation's permission.
    ///
    /// `doubles` is false where the refused subject was never answered, so that requests for forbidden ids do not
    /// lengthen the pause.
    pub(super) fn permission(&self, permit: BreakerPermit, doubles: bool) -> CallOutcome {
        match self {
            Self::NotPermitted(_) if permit == BreakerPermit::Probe && !doubles => {
                CallOutcome::Inconclusive
            }
            Self::NotPermitted(_) => CallOutcome::Failed,
            Self::Answered { .. } => CallOutcome::Answered,
            Self::Abandoned => CallOutcome::Abandoned,
            Self::Refused { .. }
            | Self::KeyRefused(_)
            | Self::Throttled(_)
            | Self::Failed
            | Self::Silent
            | Self::Foreign
            | Self::Unreachable
            | Self::Undecided => CallOutcome::Inconclusive,
        }
    }
}
