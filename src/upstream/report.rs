//! What an attempt tells those who watch: counts, the log, the latest troubles; and our own clock.

use std::time::Duration;

use jiff::Timestamp;

use super::{Attempt, Upstream, UpstreamError, Verdict, retry};
use crate::api::Action;
use crate::breaker::BreakerState;
use crate::clock::DateSource;
use crate::error_chain::error_chain;
use crate::observability::logging::Condition;
use crate::observability::metrics::Metrics;
use crate::transport::Reply;

impl Upstream {
    /// When the origin says that our date is off, its own `Date` tells by how much.
    pub(super) fn learn_clock(&self, verdict: &Verdict, reply: &Reply, received: Timestamp) {
        let (Verdict::Credential(error), Some(date)) = (verdict, reply.date()) else {
            return;
        };
        if error.code.starts_with("InvalidTimeStamp.") {
            let (clock, server) = (self.credentials.clock(), self.origin.host());
            clock.learn(date, received, DateSource::TimestampRejected, server);
        }
    }

    /// Counts an attempt and reports it to the log and to `/status`.
    pub(super) fn report(
        &self,
        action: Action,
        outcome: &Result<Attempt, UpstreamError>,
        took: Duration,
    ) {
        let result = match outcome {
            Err(error) => error.result(),
            Ok(attempt) => attempt.verdict.result(),
        };
        self.metrics.called(action, result, took);
        self.recent_errors.note(action, result, outcome);
        tracing::debug!(
            operation = action.as_str(),
            result = result.as_str(),
            "an attempt ended"
        );
        if let Ok(Attempt {
            verdict: Verdict::Credential(error) | Verdict::Permission(error),
            ..
        }) = outcome
            && !retry::is_mended_by_signing_again(&error.code)
        {
            self.credentials.report_rejection();
        }
        self.report_conditions(action, outcome);
    }

    /// Reports troubles of the origin, each as an episode of the log.
    fn report_conditions(&self, action: Action, outcome: &Result<Attempt, UpstreamError>) {
        let (log, operation) = (&self.metrics.conditions, action.as_str());
        let attempt = match outcome {
            Err(UpstreamError::NoCredential) => return,
            Err(UpstreamError::Transport(error)) if error.is_unreadable() => {
                return log.occurred(Condition::OriginFails, operation, || error_chain(&**error));
            }
            Err(error) => {
                let host = self.origin.host().to_owned();
                return log.occurred(Condition::OriginUnreachable, host, || error_chain(error));
            }
            Ok(attempt) => attempt,
        };
        log.recovered(Condition::OriginUnreachable, self.origin.host().to_owned());
        let detail = |code: &str| {
            let (status, id) = (attempt.reply.status, attempt.reply.request_id());
            format!("{operation}: status {status}, Code {code:?}, request_id {id:?}")
        };
        match &attempt.verdict {
            Verdict::Throttled(throttle) => {
                log.occurred(Condition::OriginThrottles, operation, || {
                    detail(&throttle.code)
                });
            }
            Verdict::Credential(error) if retry::is_mended_by_signing_again(&error.code) => {}
            Verdict::Credential(error) | Verdict::Permission(error) => {
                log.occurred(Condition::CredentialRefused, "", || detail(&error.code));
            }
            Verdict::ServerError(error) | Verdict::Foreign(error) => {
                log.occurred(Condition::OriginFails, operation, || detail(&error.code));
            }
            Verdict::Unreadable | Verdict::Parent(_) => {
                log.occurred(Condition::OriginFails, operation, || detail(""));
            }
            Verdict::Ok(_) => {
                for condition in [Condition::OriginThrottles, Condition::OriginFails] {
                    log.recovered(condition, operation);
                }
                log.recovered(Condition::CredentialRefused, "");
            }
            Verdict::NotFound(_) | Verdict::Forbidden(_) | Verdict::ClientError(_) => {
                log.recovered(Condition::OriginFails, operation);
            }
        }
    }

    /// Reports where the shared breaker and that of an operation stand.
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

/// Counts an attempt as in flight for as long as it lives, however it ends.
pub(super) struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    /// One more.
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
