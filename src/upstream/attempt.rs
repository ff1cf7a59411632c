//! One attempt of a call: admission, a signed request, its response, and the result that everyone else reads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use super::admission::{Applicant, CallPermit};
use super::attempt_outcome::AttemptOutcome;
use super::forbidden_burst::Subject;
use super::report::InFlight;
use super::{AnswerKind, OriginAnswer, Propagation, Upstream, UpstreamError, UpstreamKind, parent};
use crate::api::Call;
use crate::observability::traces::Trace;
use crate::signing::Identity;
use crate::transport::{NewConnection, Reply, TransportError};

/// Everything that the attempts of one call have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) applicant: Applicant<'a>,
    pub(super) body: &'a Bytes,
    pub(super) propagation: &'a Propagation,
}

/// An attempt that was sent.
pub(super) struct SentAttempt {
    pub(super) result: Result<OriginAnswer, UpstreamError>,
    /// Deadline of the call and its retries, which counts from its first slot.
    pub(super) deadline: Instant,
}

impl Upstream {
    /// Makes one attempt; `deadline` is that of a call which has been sent before. `is_final` says that a rejected
    /// signature is not cured by another one, and so counts.
    ///
    /// # Errors
    /// The reason why nothing was sent.
    pub(super) async fn attempt(
        &self,
        attempt: Attempt<'_>,
        deadline: Option<Instant>,
        is_final: bool,
        trace: &Trace,
    ) -> Result<SentAttempt, UpstreamError> {
        let action = attempt.applicant.call.operation.action();
        let queue = trace.span("queue");
        let mut permit = self
            .admit(attempt.applicant, deadline)
            .await
            .inspect_err(|_| self.metrics.upstream_unsent.of(action).inc())?;
        drop(queue);
        let deadline = permit.deadline;
        let result = self.exchange(attempt, &mut permit, trace).await;
        let is_cured = |error: &UpstreamError| error.is_cured_by_new_signature();
        let is_final = is_final || !result.as_ref().is_err_and(is_cured);
        permit.finish(self.outcome(&result, is_final));
        self.report_breakers(action);
        self.report_pace(action);
        Ok(SentAttempt { result, deadline })
    }

    /// Returns the outcome for the breakers and the pace. A parent gateway's own throttle is about the one request,
    /// whose room in its queue it names, and closes no slots.
    fn outcome(
        &self,
        result: &Result<OriginAnswer, UpstreamError>,
        is_final: bool,
    ) -> AttemptOutcome {
        match AttemptOutcome::of(result, is_final) {
            AttemptOutcome::Throttled(throttle)
                if self.config.kind == UpstreamKind::Gateway
                    && throttle.error.code == "Throttling" =>
            {
                AttemptOutcome::Answered { is_success: false }
            }
            outcome => outcome,
        }
    }

    async fn admit(
        &self,
        applicant: Applicant<'_>,
        deadline: Option<Instant>,
    ) -> Result<CallPermit<'_>, UpstreamError> {
        let identity = self.credentials.current();
        let identity = identity.ok_or(UpstreamError::NoCredential)?;
        self.admission.credential_in_use(&identity);
        self.admission.admit(applicant, deadline).await
    }

    /// Sends the signed request and classifies the response, within the attempt's own time limit.
    async fn exchange(
        &self,
        attempt: Attempt<'_>,
        permit: &mut CallPermit<'_>,
        trace: &Trace,
    ) -> Result<OriginAnswer, UpstreamError> {
        let Attempt {
            applicant: Applicant { call, .. },
            body,
            propagation,
        } = attempt;
        let identity = self
            .credentials
            .current()
            .ok_or(UpstreamError::NoCredential)?;
        let request = self.prepare(call, body.clone(), propagation, trace, &identity)?;
        let exchange = trace.span("exchange");
        let sent = Instant::now();
        let deadline = permit.deadline.min(sent + self.config.attempt_timeout.0);
        let _in_flight = InFlight::new(&self.metrics);
        let mut reply = self.send_request(request, deadline).await;
        if matches!(reply, Err(UpstreamError::Transport(ref error)) if matches!(**error, TransportError::Stale(_)))
            && !call.operation.is_write()
            && permit.take_another_slot(deadline).await
        {
            // The origin had closed the connection before it could see the request: no attempt was made on it. The
            // request is signed again all the same, for signed bytes are never sent twice.
            self.metrics.upstream_resends.inc();
            let mut request = self.prepare(call, body.clone(), propagation, trace, &identity)?;
            request.extensions_mut().insert(NewConnection);
            reply = self.send_request(request, deadline).await;
        }
        let (received, took) = (Timestamp::now(), sent.elapsed());
        drop(exchange);
        let result = match reply {
            Err(error) => Err(error),
            Ok(reply) => {
                let signed = (call, propagation, &*identity);
                let confirmed = self.confirm(signed, reply, permit, deadline, trace).await;
                let (result, reply) = confirmed;
                self.read_quota(call, &reply);
                match result {
                    Ok(kind) => Ok(self.answer(kind, reply, sent, took, received)),
                    Err(error) => {
                        self.correct_clock(&error, &reply, received);
                        Err(error)
                    }
                }
            }
        };
        self.report(&call.operation, &result, took);
        result
    }

    fn answer(
        &self,
        kind: AnswerKind,
        reply: Reply,
        sent: Instant,
        took: Duration,
        received: Timestamp,
    ) -> OriginAnswer {
        let (freshness, asked_after) = self.freshness(&reply, sent);
        OriginAnswer {
            kind,
            reply,
            sent,
            took,
            received,
            freshness,
            asked_after,
        }
    }

    async fn send_request(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Reply, UpstreamError> {
        let reply = timeout_at(deadline, self.transport.clone().oneshot(request)).await;
        reply
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|error| UpstreamError::Transport(Arc::new(error)))
    }

    /// Classifies a response: by a parent gateway's own codes, then by the API's, then by the denials before it.
    pub(super) fn classify(
        &self,
        call: &Call,
        reply: &Reply,
        signed: &Identity,
    ) -> Result<AnswerKind, UpstreamError> {
        let operation = &call.operation;
        let of_parent = match self.config.kind {
            UpstreamKind::Api => None,
            UpstreamKind::Gateway => parent::classify(operation, reply),
        };
        let result =
            of_parent.unwrap_or_else(|| self.classifier.classify(operation, reply, signed));
        match result {
            Err(UpstreamError::Unreadable(_)) => {
                // It may be the response to another request, and then the next one on this connection is, too.
                reply.connection.discard();
                result
            }
            // A parent gateway makes this distinction itself.
            Ok(AnswerKind::Forbidden(error)) if self.config.kind == UpstreamKind::Api => {
                if self.admission.is_operation_denied(&Subject::of(call)) {
                    Err(UpstreamError::Permission(error))
                } else {
                    Ok(AnswerKind::Forbidden(error))
                }
            }
            result => result,
        }
    }

    /// Stores the quota that a response states, and exports it.
    fn read_quota(&self, call: &Call, reply: &Reply) {
        let action = call.operation.action();
        for (scope, remain) in self.admission.update_quota(action, reply) {
            let gauge = self.metrics.quota_remaining.of((action, scope));
            gauge.set(i64::try_from(remain).unwrap_or(i64::MAX));
        }
    }
}
