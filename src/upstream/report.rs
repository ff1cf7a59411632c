//! What an attempt tells those who watch: counts, the log, the latest troubles; and our own clock.

use std::time::Duration;

use jiff::Timestamp;

use super::{Attempt, Upstream, UpstreamError, Verdict, retry};
use crate::api::Action;
use crate::clock::Evidence;
use crate::metrics::Metrics;
use crate::telemetry::told;
use crate::transport::Reply;

impl Upstream {
    /// When the origin says that our date is off, its own `Date` tells by how much.
    pub(super) fn learn_clock(&self, verdict: &Verdict, reply: &Reply, received: Timestamp) {
        let (Verdict::Credential(error), Some(date)) = (verdict, reply.date()) else {
            return;
        };
        if error.code.starts_with("InvalidTimeStamp.") {
            let (clock, server) = (self.credentials.clock(), self.origin.host());
            clock.learn(date, received, Evidence::Refusal, server);
        }
    }

    /// Tells how an attempt ended to whoever counts, reads the log or looks at `/status`.
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
        self.troubles.note(action, result, outcome);
        match outcome {
            Err(error) => {
                tracing::warn!(
                    operation = action.as_str(),
                    error = told(error),
                    "a call to the origin failed"
                );
            }
            Ok(Attempt {
                verdict: Verdict::Credential(error),
                ..
            }) => {
                tracing::error!(
                    code = error.code,
                    request.id = error.request_id,
                    "the origin refuses the gateway's credential"
                );
                if !retry::is_mended_by_signing_again(&error.code) {
                    self.credentials.rejected();
                }
            }
            Ok(Attempt {
                verdict: Verdict::ServerError(_) | Verdict::Unreadable | Verdict::Parent(_),
                reply,
                ..
            }) => {
                let (status, id) = (reply.status, reply.request_id());
                tracing::warn!(
                    operation = action.as_str(),
                    status,
                    request.id = id,
                    "the origin failed"
                );
            }
            Ok(attempt) => {
                tracing::debug!(
                    operation = action.as_str(),
                    result = result.as_str(),
                    status = attempt.reply.status,
                    "the origin answered"
                );
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
