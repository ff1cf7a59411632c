//! One attempt of a call: admission, a signed request, its response, and the result that everyone else reads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use super::attempt_outcome::AttemptOutcome;
use super::forbidden_burst::Subject;
use super::priority::SharedPriority;
use super::report::InFlight;
use super::{AnswerKind, OriginAnswer, Propagation, Upstream, UpstreamError, UpstreamKind, parent};
use crate::api::Call;
use crate::observability::traces::Trace;
use crate::signing::Credentials;
use crate::transport::{NewConnection, Reply, TransportError};

/// Everything that the attempts of one call have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) call: &'a Call,
    pub(super) body: &'a Bytes,
    pub(super) priority: &'a SharedPriority,
    pub(super) propagation: &'a Propagation,
    /// Deadline of the whole call.
    pub(super) deadline: Instant,
}

impl Upstream {
    /// Makes one attempt. `is_final` says that a rejected signature is not cured by another one, and so counts.
    pub(super) async fn attempt(
        &self,
        attempt: Attempt<'_>,
        is_final: bool,
        trace: &Trace,
    ) -> Result<OriginAnswer, UpstreamError> {
        let action = attempt.call.operation.action();
        let queue = trace.span("queue");
        if let Some(credentials) = self.credentials.current() {
            self.admission.credential_in_use(&credentials);
        }
        let (subject, client) = (Subject::of(attempt.call), &attempt.propagation.client);
        let permit = self
            .admission
            .admit(subject, attempt.priority, client, attempt.deadline)
            .await
            .inspect_err(|_| self.metrics.upstream_unsent.of(action).inc())?;
        drop(queue);
        let result = self.exchange(attempt, trace).await;
        let is_cured = |error: &UpstreamError| error.is_cured_by_new_signature();
        let is_final = is_final || !result.as_ref().is_err_and(is_cured);
        permit.finish(AttemptOutcome::of(&result, is_final));
        self.report_breakers(action);
        result
    }

    /// Sends the signed request and classifies the response, within the attempt's own time limit.
    async fn exchange(
        &self,
        attempt: Attempt<'_>,
        trace: &Trace,
    ) -> Result<OriginAnswer, UpstreamError> {
        let Attempt {
            call,
            body,
            propagation,
            deadline,
            ..
        } = attempt;
        let credentials = self
            .credentials
            .current()
            .ok_or(UpstreamError::NoCredential)?;
        let request = self.prepare(call, body.clone(), propagation, trace, &credentials)?;
        let exchange = trace.span("exchange");
        let sent = Instant::now();
        let deadline = deadline.min(sent + self.config.attempt_timeout.0);
        let _in_flight = InFlight::new(&self.metrics);
        let mut reply = timeout_at(deadline, self.transport.clone().oneshot(request)).await;
        if matches!(reply, Ok(Err(TransportError::Stale(_)))) && !call.operation.is_write() {
            // The origin had closed the connection before it could see the request: no attempt was made on it. The
            // request is signed again all the same, for signed bytes are never sent twice.
            self.metrics.upstream_resends.inc();
            let mut request = self.prepare(call, body.clone(), propagation, trace, &credentials)?;
            request.extensions_mut().insert(NewConnection);
            reply = timeout_at(deadline, self.transport.clone().oneshot(request)).await;
        }
        let (received, took) = (Timestamp::now(), sent.elapsed());
        drop(exchange);
        let result = match reply {
            Err(_) => Err(UpstreamError::Timeout),
            Ok(Err(error)) => Err(UpstreamError::Transport(Arc::new(error))),
            Ok(Ok(reply)) => {
                let signed = (call, propagation, &*credentials);
                let (result, reply) = self.confirm(signed, reply, deadline, trace).await;
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
        self.report(call.operation.action(), &result, took);
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

    /// Classifies a response: by a parent gateway's own codes, then by the API's, then by the denials before it.
    pub(super) fn classify(
        &self,
        call: &Call,
        reply: &Reply,
        signed: &Credentials,
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
