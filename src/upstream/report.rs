//! Reports of attempts: metrics, the log, the recent errors of `/status`, and the correction of the clock.

use std::time::Duration;

use jiff::Timestamp;

use super::answer::call_result;
use super::breaker::BreakerState;
use super::{AnswerKind, OriginAnswer, Throttle, Upstream, UpstreamError};
use crate::api::{Action, Operation, OriginError};
use crate::clock::DateSource;
use crate::error_chain::error_chain;
use crate::observability::logging::Condition;
use crate::observability::metrics::Metrics;
use crate::transport::Reply;

impl Upstream {
    /// Corrects the clock by the response's `Date` where the origin rejects the request's timestamp.
    pub(super) fn correct_clock(&self, error: &UpstreamError, reply: &Reply, received: Timestamp) {
        let (UpstreamError::Credential(error), Some(date)) = (error, reply.date()) else {
            return;
        };
        if error.code.starts_with("InvalidTimeStamp.") {
            let (clock, server) = (self.credentials.clock(), self.origin.host());
            clock.learn(date, received, DateSource::TimestampRejected, server);
        }
    }

    /// Counts an attempt and reports it to the log, `/status` and the credential's provider.
    pub(super) fn report(
        &self,
        operation: &Operation,
        result: &Result<OriginAnswer, UpstreamError>,
        took: Duration,
    ) {
        let action = operation.action();
        let label = call_result(result);
        self.metrics.called(action, label, took);
        let error = match result {
            Ok(answer) => answer.kind.error(),
            Err(error) => error.answer(),
        };
        self.recent_errors.record(operation, label, error);
        tracing::debug!(
            operation = action.as_str(),
            result = label.as_str(),
            "an attempt ended"
        );
        if let Err(error @ (UpstreamError::Credential(_) | UpstreamError::Permission(_))) = result
            && !error.is_cured_by_new_signature()
        {
            self.credentials.report_rejection();
        }
        match result {
            Ok(answer) => self.report_answer(action, &answer.kind),
            Err(error) => self.report_error(action, error),
        }
    }

    /// Ends the log's conditions that an answer disproves. A denial or not-found proves only that the origin works.
    fn report_answer(&self, action: Action, kind: &AnswerKind) {
        let (log, operation) = (&self.metrics.conditions, action.as_str());
        self.report_reached();
        log.recovered(Condition::OriginFails, operation);
        if matches!(kind, AnswerKind::Success(_)) {
            log.recovered(Condition::OriginThrottles, operation);
            log.recovered(Condition::CredentialRefused, "");
            log.recovered(Condition::AccountRefused, "");
        }
    }

    /// Begins or continues the log's condition that an error belongs to.
    fn report_error(&self, action: Action, error: &UpstreamError) {
        let (log, operation) = (&self.metrics.conditions, action.as_str());
        if error.answer().is_some() {
            self.report_reached();
        }
        let detail = |answer: &OriginError| {
            let (status, code, id) = (answer.status, &answer.code, &answer.request_id);
            format!("{operation}: status {status}, Code {code:?}, request_id {id:?}")
        };
        match error {
            UpstreamError::Throttled(Throttle { error, .. }) => {
                log.occurred(Condition::OriginThrottles, operation, || detail(error));
            }
            // The next attempt has a new signature and decides.
            error if error.is_cured_by_new_signature() => {}
            UpstreamError::Credential(error) | UpstreamError::Permission(error) => {
                log.occurred(Condition::CredentialRefused, "", || detail(error));
            }
            UpstreamError::Server(error)
            | UpstreamError::Foreign(error)
            | UpstreamError::Unreadable(error)
            | UpstreamError::Parent(_, error) => {
                log.occurred(Condition::OriginFails, operation, || detail(error));
            }
            UpstreamError::Account(error) => {
                log.occurred(Condition::AccountRefused, "", || detail(error));
            }
            UpstreamError::Refused(_) => log.recovered(Condition::OriginFails, operation),
            UpstreamError::Transport(error) if error.is_unreadable() => {
                log.occurred(Condition::OriginFails, operation, || error_chain(&**error));
            }
            UpstreamError::Timeout | UpstreamError::Transport(_) => {
                let host = self.origin.host().to_owned();
                log.occurred(Condition::OriginUnreachable, host, || error_chain(error));
            }
            // Nothing was sent.
            UpstreamError::CircuitOpen
            | UpstreamError::Overloaded(_)
            | UpstreamError::NoCredential => {}
        }
    }

    fn report_reached(&self) {
        let host = self.origin.host().to_owned();
        self.metrics
            .conditions
            .recovered(Condition::OriginUnreachable, host);
    }

    /// Reports the states of the shared breaker and of an operation's to the log.
    pub(super) fn report_breakers(&self, action: Action) {
        let (shared, operation) = self.admission.states(action);
        for (state, subject) in [(shared, "shared"), (operation, action.as_str())] {
            let log = &self.metrics.conditions;
            match state {
                BreakerState::Open => log.occurred(Condition::BreakerOpen, subject, String::new),
                BreakerState::Closed => log.recovered(Condition::BreakerOpen, subject),
                BreakerState::Probing => {}
            }
        }
    }
}

impl Upstream {
    /// Reports the pace of an operation to the metrics and the log. It changes with a throttle and with time.
    pub(super) fn report_pace(&self, action: Action) {
        let Some(pace) = self.admission.pace(action) else {
            return;
        };
        let (log, operation) = (&self.metrics.conditions, action.as_str());
        let detail = || format!("{} calls a second", pace.per_second);
        self.metrics.upstream_pace.of(action).set(pace.per_second);
        let lowered = self.metrics.upstream_pace_lowered.of(action);
        lowered.set(i64::from(pace.is_lowered));
        if pace.is_lowered {
            log.occurred(Condition::PaceLowered, operation, detail);
        } else {
            log.recovered(Condition::PaceLowered, operation);
        }
    }

    /// Updates the gauges of an operation's queue.
    pub(super) fn export_queue(&self, action: Action) {
        let Some(pace) = self.admission.pace_status(action) else {
            return;
        };
        let queued = i64::try_from(pace.waiting).unwrap_or(i64::MAX);
        self.metrics.upstream_queued.of(action).set(queued);
        let promised = self.metrics.upstream_promised_wait.of(action);
        promised.set(pace.wait_seconds);
    }

    /// Reports to the log whether this replica keeps to its part of the fleet's pace.
    pub fn report_fleet(&self) {
        let paces = Action::ALL.map(|action| Some((action, self.admission.pace(action)?)));
        let alone = paces.into_iter().flatten().find(|(_, pace)| pace.is_alone);
        let log = &self.metrics.conditions;
        match alone {
            Some((action, pace)) => log.occurred(Condition::PaceNotShared, "", || {
                format!("{} calls of {} a second", pace.per_second, action.as_str())
            }),
            None => log.recovered(Condition::PaceNotShared, ""),
        }
    }
}

/// Counter of attempts in flight: counts one for as long as this value lives, however the attempt ends.
pub(super) struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    /// Counts one more attempt.
    pub(super) fn new(metrics: &'a Metrics) -> Self {
        metrics.upstream_in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.upstream_in_flight.dec();
    }
}
