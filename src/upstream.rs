//! Calls to the origin: one deadline a call, one signed attempt after another, one classified result.
//!
//! 1. [`admission`](self) rejects a call that a circuit breaker or the quota stops, and one that would wait too long
//!    for a slot of the [`pace`](self); the others wait for theirs in the order of their priority.
//! 2. [`request`](self) builds and signs each attempt from nothing, with a nonce and a date of its own. No header of a
//!    client reaches the origin, except `traceparent` where the settings say so, and `Via` towards a parent gateway.
//! 3. [`Classifier`] turns the response into an [`OriginAnswer`] or an [`UpstreamError`], once.
//! 4. The breakers, the retry policy, the metrics, the log and the trace read that one result.
//!
//! Only reads are attempted again, and only within the retry budget of all calls.

mod admission;
mod answer;
mod attempt;
mod attempt_outcome;
pub mod breaker;
mod breakers;
mod classify;
mod config;
mod confirm;
mod error;
mod fleet_pace;
mod forbidden_burst;
pub mod freshness;
mod operation_status;
mod origin;
mod pace;
mod pacer;
mod parent;
mod patience;
pub mod priority;
mod priority_limiter;
mod quota;
mod recent_errors;
mod report;
mod request;
mod retry;
mod span;
mod unnamed_throttles;
pub mod via;

pub use answer::{AnswerKind, OriginAnswer};
pub use classify::Classifier;
pub use config::{CallsPerSecond, Config, UpstreamKind};
pub use error::{Throttle, UpstreamError};
pub use fleet_pace::{FleetAway, FleetPace, FleetReply, FleetRequest, GrantId};
pub use freshness::UpstreamFreshness;
pub use operation_status::{OperationStatus, PaceStatus};
pub use origin::{InvalidOrigin, Origin};
pub use parent::{ParentFault, Propagation};
pub use patience::Patience;
pub use recent_errors::RecentError;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::api::{Action, Call, ImageKey};
use crate::credentials::CredentialProvider;
use crate::observability::metrics::{HoldReason, Metrics};
use crate::observability::traces::Trace;
use crate::transport::Transport;
use admission::{Admission, Applicant};
use attempt::{Attempt, SentAttempt};
use breaker::BreakerState;
use priority::{Priority, SharedPriority};
use recent_errors::RecentErrors;
use retry::{CallAttempts, RetryDecision, RetryPolicy};
use via::Instance;

/// Client of the origin: everything that a call needs, shared by all of them.
#[derive(Debug)]
pub struct Upstream {
    origin: Origin,
    /// Name of this gateway in `Via`; `None` where the origin is the API.
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
    /// Assembles the client; nothing is connected or sent.
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
        let admission = Admission::new(&config, None);
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

    /// Makes the pace of calls that of a whole fleet, whose slots this store holds.
    #[must_use]
    pub fn in_fleet(mut self, fleet: Arc<dyn FleetPace>) -> Self {
        self.admission = Admission::new(&self.config, Some(fleet));
        self
    }

    /// Returns the kind of the origin.
    #[must_use]
    pub const fn kind(&self) -> UpstreamKind {
        self.config.kind
    }

    /// Returns whether each call reaches the API, so that no answer comes from the memory of a cache between.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        matches!(self.config.kind, UpstreamKind::Api)
    }

    /// Returns the address of the origin.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the time limit of a call and all its attempts, from its first slot on.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.config.deadline.0
    }

    /// Returns the state of the breaker that all operations share, as `/status` shows it.
    #[must_use]
    pub fn breaker(&self) -> &'static str {
        self.admission.state().as_str()
    }

    /// Returns the state of each operation that has been called.
    #[must_use]
    pub fn operations(&self) -> Vec<(Action, OperationStatus)> {
        self.admission.operations()
    }

    /// Returns the latest failed attempts, the newest first.
    #[must_use]
    pub fn recent_errors(&self) -> Vec<RecentError> {
        self.recent_errors.latest()
    }

    /// Updates the gauges of the breakers, the pace and its queue, whose states change with time alone.
    pub fn export(&self) {
        for action in Action::ALL {
            self.report_pace(action);
            self.export_queue(action);
        }
        let now = self.admission.state();
        for state in BreakerState::ALL {
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

    /// Sends a call when its turn comes, and repeats a read that failed, all within the call's deadline.
    ///
    /// # Errors
    /// [`UpstreamError`] of the last attempt, where the origin gave no answer about the resource.
    pub async fn send(
        &self,
        call: &Call,
        body: Bytes,
        (priority, patience): (&SharedPriority, Patience),
        propagation: &Propagation,
        trace: &Trace,
    ) -> Result<OriginAnswer, UpstreamError> {
        let applicant = Applicant {
            call,
            client: &propagation.client,
            priority,
            patience,
        };
        let attempt = Attempt {
            applicant,
            body: &body,
            propagation,
        };
        let mut attempts = self.retries.attempts(&call.operation);
        let mut last: Option<SentAttempt> = None;
        loop {
            let span = trace.attempt(attempts.made() + 1);
            let (is_final, deadline) = (
                attempts.has_signed_again(),
                last.as_ref().map(|last| last.deadline),
            );
            let sent = match self.attempt(attempt, deadline, is_final, &span).await {
                Ok(sent) => sent,
                Err(error) => {
                    let result = Err(error);
                    span::record(&span, &result);
                    return unsent(result, last);
                }
            };
            span::record(&span, &sent.result);
            // Ends the span before the pause, which is no part of the attempt.
            drop(span);
            match attempts.decide(&sent.result, sent.deadline, Instant::now()) {
                RetryDecision::Stop
                    if self.waits_out_throttle(&sent.result, &attempts, priority) => {}
                RetryDecision::Stop => return self.told_when(sent.result, applicant),
                RetryDecision::After(pause) => sleep(pause).await,
            }
            self.metrics.upstream_retries.inc();
            last = Some(sent);
        }
    }

    /// Returns whether a throttled call goes back to the queue: a read that a client waits for. A parent gateway's
    /// throttle is final, for it has its own queue.
    fn waits_out_throttle(
        &self,
        result: &Result<OriginAnswer, UpstreamError>,
        attempts: &CallAttempts,
        priority: &SharedPriority,
    ) -> bool {
        matches!(result, Err(UpstreamError::Throttled(_)))
            && self.config.kind == UpstreamKind::Api
            && priority.now() > Priority::Background
            && attempts.waits_out_throttle()
    }

    /// Replaces the wait in the origin's throttle by the time until there will be room for this very call.
    fn told_when(
        &self,
        result: Result<OriginAnswer, UpstreamError>,
        applicant: Applicant<'_>,
    ) -> Result<OriginAnswer, UpstreamError> {
        result.map_err(|error| match error {
            UpstreamError::Throttled(throttle) if self.config.kind == UpstreamKind::Api => {
                UpstreamError::Throttled(Throttle {
                    wait: Some(self.admission.reserve(applicant)),
                    ..throttle
                })
            }
            error => error,
        })
    }

    /// Returns the wait that the queue promises now to a GetImage which is not made, because memory has a denial.
    ///
    /// # Errors
    /// The error that the GetImage would be refused with for want of a slot.
    pub fn promise(
        &self,
        key: &ImageKey,
        client: &str,
        priority: Priority,
        deadline: Instant,
    ) -> Result<Duration, UpstreamError> {
        self.admission.promise(Applicant {
            call: &Call::get_image(key.clone()),
            client,
            priority: &SharedPriority::new(priority),
            patience: Patience::Fetch(Some(deadline)),
        })
    }

    /// Returns the error for a request whose deadline has passed while its call waits in the queue, or for another
    /// replica's call. One that would not have to wait now, nor would have lately, is late for another reason than the
    /// pace.
    #[must_use]
    pub fn still_queued(&self, call: &Call, client: &str, priority: Priority) -> UpstreamError {
        let wait = self.admission.reserve(Applicant {
            call,
            client,
            priority: &SharedPriority::new(priority),
            patience: Patience::Fetch(None),
        });
        let action = call.operation.action();
        let late_elsewhere = || self.admission.late_elsewhere(action);
        let wait = Some(wait)
            .filter(|wait| !wait.is_zero())
            .or_else(late_elsewhere);
        wait.map_or(UpstreamError::Timeout, |wait| {
            self.admission.refusal(action, wait)
        })
    }
}

/// Returns the result of a call whose next attempt was not sent: the former attempt's, if the next one only found no
/// slot in time.
fn unsent(
    result: Result<OriginAnswer, UpstreamError>,
    last: Option<SentAttempt>,
) -> Result<OriginAnswer, UpstreamError> {
    match (&result, last) {
        (Err(UpstreamError::Overloaded(_)), Some(last)) => last.result,
        _ => result,
    }
}

#[cfg(test)]
mod testing;
