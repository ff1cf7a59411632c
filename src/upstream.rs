//! Asking the origin: one deadline, one signed attempt after another, one verdict.
//!
//! Each attempt is built from nothing and signed at its own moment with its own nonce: no header of a
//! client reaches the origin, but a `traceparent` where the settings say so, and its way where a parent gateway
//! stands in the origin's place. Only reads are tried again, and only while the retry budget lasts.

mod admission;
mod breakers;
mod classify;
mod config;
mod confirm;
mod error;
mod forbidden_burst;
mod origin;
mod parent;
mod priority_limiter;
mod quota;
mod recent_errors;
mod report;
mod request;
mod retry;
mod span;
pub mod via;

pub use admission::OperationStatus;
pub use classify::{Classifier, Throttle, Verdict};
pub use config::{Config, UpstreamKind};
pub use error::UpstreamError;
pub use origin::{InvalidOrigin, Origin};
pub use parent::{ParentFault, Propagation};
pub use recent_errors::RecentError;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};
use tower::ServiceExt;

use crate::api::{Action, Call, ImageFields, OriginError};
use crate::breaker;
use crate::credentials::CredentialProvider;
use crate::observability::metrics::{HoldReason, Metrics};
use crate::observability::traces::Trace;
use crate::priority::SharedPriority;
use crate::signing::Credentials;
use crate::transport::{NewConnection, Reply, Transport, TransportError};
use crate::upstream::via::Instance;
use admission::Admission;
use breakers::AttemptOutcome;
use forbidden_burst::Subject;
use recent_errors::RecentErrors;
use report::InFlight;
use retry::{RetryDecision, RetryPolicy};

/// An answer about what was asked.
#[derive(Debug, Clone)]
pub struct OriginAnswer {
    /// What it says.
    pub said: Said,
    /// The answer itself.
    pub reply: Reply,
    /// When the attempt that brought it was sent.
    pub sent: Instant,
    /// How long that attempt took.
    pub took: Duration,
    /// Our clock when it came.
    pub received: Timestamp,
    /// Who gave it.
    pub from: UpstreamKind,
}

/// What the origin says about what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Here it is, and what it says of an image, if it is one.
    Ok(ImageFields),
    /// There is no such image.
    NotFound(OriginError),
    /// The central credential may not see it.
    Forbidden(OriginError),
}

/// One attempt that was answered, whatever the answer.
#[derive(Debug, Clone)]
struct Attempt {
    verdict: Verdict,
    reply: Reply,
    sent: Instant,
    took: Duration,
    received: Timestamp,
}

/// The origin, and all it takes to ask it.
#[derive(Debug)]
pub struct Upstream {
    origin: Origin,
    /// What a parent gateway, and whoever it asks, knows this one by.
    instance: Option<Instance>,
    config: Config,
    classifier: Classifier,
    transport: Transport,
    credentials: Arc<CredentialProvider>,
    retries: RetryPolicy,
    admission: Admission,
    recent_errors: RecentErrors,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// Puts the parts together; nothing is sent.
    #[must_use]
    pub fn new(
        origin: Origin,
        config: Config,
        transport: Transport,
        credentials: Arc<CredentialProvider>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let classifier = Classifier::new(&config);
        let retries = RetryPolicy::new(config.retry_percent);
        let admission = Admission::new(&config);
        let instance = match config.kind {
            UpstreamKind::Api => None,
            UpstreamKind::Gateway => Some(Instance::new(fastrand::u128(..))),
        };
        Self {
            origin,
            instance,
            config,
            classifier,
            transport,
            credentials,
            retries,
            admission,
            recent_errors: RecentErrors::default(),
            metrics,
        }
    }

    /// What is asked.
    #[must_use]
    pub const fn kind(&self) -> UpstreamKind {
        self.config.kind
    }

    /// Who is asked.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The longest that a call takes.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.config.deadline.0
    }

    /// The word for where the breaker stands that all operations share.
    #[must_use]
    pub fn breaker(&self) -> &'static str {
        self.admission.state().as_str()
    }

    /// BreakerState of each operation that has been called.
    #[must_use]
    pub fn operations(&self) -> Vec<(Action, OperationStatus)> {
        self.admission.operations()
    }

    /// The latest attempts that went wrong, the newest first.
    #[must_use]
    pub fn recent_errors(&self) -> Vec<RecentError> {
        self.recent_errors.latest()
    }

    /// Brings the gauges up to date that nothing else moves.
    pub fn export(&self) {
        let now = self.admission.state();
        for state in breaker::BreakerState::ALL {
            let gauge = self
                .metrics
                .breaker_state
                .with_label_values(&[state.as_str()]);
            gauge.set(i64::from(state == now));
        }
        for (action, status) in self.admission.operations() {
            for reason in HoldReason::ALL {
                let is_held = status.held.contains(&reason.as_str());
                let gauge = self.metrics.upstream_held.of((action, reason));
                gauge.set(i64::from(is_held));
            }
        }
    }

    /// Asks, within the deadline, when its turn comes.
    ///
    /// # Errors
    /// [`UpstreamError`] when the origin gave no answer about what was asked.
    pub async fn send(
        &self,
        call: &Call,
        body: Bytes,
        priority: &SharedPriority,
        propagation: &Propagation,
        trace: &Trace,
    ) -> Result<OriginAnswer, UpstreamError> {
        let deadline = Instant::now() + self.config.deadline.0;
        let mut attempts = self.retries.attempts(&call.operation);
        loop {
            let step = trace.attempt(attempts.made() + 1);
            let is_final = attempts.has_signed_again();
            let outcome = self
                .attempt(
                    call,
                    body.clone(),
                    (priority, propagation, is_final),
                    deadline,
                    &step,
                )
                .await;
            span::record(&step, &outcome);
            drop(step);
            match attempts.decide(&outcome, deadline, Instant::now()) {
                RetryDecision::Stop => return outcome.and_then(|attempt| self.conclude(attempt)),
                RetryDecision::After(pause) => sleep(pause).await,
            }
            self.metrics.upstream_retries.inc();
        }
    }

    async fn attempt(
        &self,
        call: &Call,
        body: Bytes,
        (priority, propagation, is_final): (&SharedPriority, &Propagation, bool),
        deadline: Instant,
        trace: &Trace,
    ) -> Result<Attempt, UpstreamError> {
        let action = call.operation.action();
        let queue = trace.span("queue");
        if let Some(credentials) = self.credentials.current() {
            self.admission.signs_with(&credentials);
        }
        let permit = self
            .admission
            .admit(Subject::of(call), priority, &propagation.client, deadline)
            .await
            .inspect_err(|_| self.metrics.upstream_unsent.of(action).inc())?;
        drop(queue);
        let outcome = self
            .exchange(call, body, propagation, deadline, trace)
            .await;
        let is_mendable = |error: &OriginError| retry::is_mended_by_signing_again(&error.code);
        let is_final = is_final || !outcome.as_ref().is_ok_and(|attempt| {
            matches!(&attempt.verdict, Verdict::Credential(error) if is_mendable(error))
        });
        permit.finish(AttemptOutcome::of(&outcome, is_final));
        self.report_breakers(action);
        outcome
    }

    async fn exchange(
        &self,
        call: &Call,
        body: Bytes,
        propagation: &Propagation,
        deadline: Instant,
        trace: &Trace,
    ) -> Result<Attempt, UpstreamError> {
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
            // The origin had closed the connection before it could see the request: no attempt was made on it.
            self.metrics.upstream_resends.inc();
            let mut request = self.prepare(call, body, propagation, trace, &credentials)?;
            request.extensions_mut().insert(NewConnection);
            reply = timeout_at(deadline, self.transport.clone().oneshot(request)).await;
        }
        let (received, took) = (Timestamp::now(), sent.elapsed());
        drop(exchange);
        let outcome = match reply {
            Err(_) => Err(UpstreamError::Timeout),
            Ok(Err(error)) => Err(UpstreamError::Transport(Arc::new(error))),
            Ok(Ok(reply)) => {
                let asked = (call, propagation, &*credentials);
                let (verdict, reply) = self.confirm(asked, reply, deadline, trace).await;
                self.learn_clock(&verdict, &reply, received);
                let action = call.operation.action();
                for (scope, remain) in self.admission.learn(action, &reply) {
                    let gauge = self.metrics.quota_remaining.of((action, scope));
                    gauge.set(i64::try_from(remain).unwrap_or(i64::MAX));
                }
                Ok(Attempt {
                    verdict,
                    reply,
                    sent,
                    took,
                    received,
                })
            }
        };
        self.report(call.operation.action(), &outcome, took);
        outcome
    }

    fn classify(&self, call: &Call, reply: &Reply, signed: &Credentials) -> Verdict {
        let operation = &call.operation;
        let of_a_parent = match self.config.kind {
            UpstreamKind::Api => None,
            UpstreamKind::Gateway => parent::classify(operation, reply),
        };
        let verdict =
            of_a_parent.unwrap_or_else(|| self.classifier.classify(operation, reply, signed));
        match verdict {
            Verdict::Unreadable => {
                // It may be the answer to another request: the next one on this connection would be, too.
                reply.connection.discard();
                Verdict::Unreadable
            }
            // A parent gateway decides that for itself.
            Verdict::Forbidden(error) if self.config.kind == UpstreamKind::Api => {
                let subject = Subject::of(call);
                if self.admission.concerns_the_operation(&subject) {
                    Verdict::Permission(error)
                } else {
                    Verdict::Forbidden(error)
                }
            }
            verdict => verdict,
        }
    }

    /// Splits what was asked about from what went wrong.
    fn conclude(&self, attempt: Attempt) -> Result<OriginAnswer, UpstreamError> {
        let Attempt {
            verdict,
            reply,
            sent,
            took,
            received,
        } = attempt;
        let said = match verdict {
            Verdict::Ok(fields) => Said::Ok(fields),
            Verdict::Unreadable => return Err(UpstreamError::Unreadable),
            Verdict::NotFound(error) => Said::NotFound(error),
            Verdict::Forbidden(error) => Said::Forbidden(error),
            Verdict::ClientError(error) => return Err(UpstreamError::Refused(error)),
            Verdict::Throttled(throttle) => return Err(UpstreamError::Throttled(throttle)),
            Verdict::ServerError(error) | Verdict::Foreign(error) => {
                return Err(UpstreamError::Server(error));
            }
            Verdict::Credential(error) | Verdict::Permission(error) => {
                return Err(UpstreamError::Credential(error.code));
            }
            Verdict::Parent(fault) => return Err(UpstreamError::Parent(fault)),
        };
        Ok(OriginAnswer {
            said,
            reply,
            sent,
            took,
            received,
            from: self.config.kind,
        })
    }
}
