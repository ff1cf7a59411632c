//! State of each operation's calls, for `/status` and the metrics.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Instant;

use super::admission::Admission;
use super::priority::Priority;
use crate::api::Action;
use crate::observability::metrics::HoldReason;

/// State of one operation, for `/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationStatus {
    /// State of its breaker.
    pub breaker: &'static str,
    /// Reasons for which calls are rejected now.
    pub held: Vec<&'static str>,
    /// Calls left in the account's current period by scope, as the origin stated last.
    pub quota: BTreeMap<&'static str, u64>,
    /// Its pace; `null` without a limit.
    pub pace: Option<PaceStatus>,
}

/// State of the pace of one operation, for `/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PaceStatus {
    /// Calls a second that may be made now: by the whole fleet, or by this replica alone.
    pub per_second: f64,
    /// Calls a second that the settings permit.
    pub configured: f64,
    /// A throttle has lowered the pace.
    pub lowered: bool,
    /// The shared cache does not answer, so that this replica keeps to its part of the fleet's pace.
    pub alone: bool,
    /// Number of calls that wait for their turn here.
    pub waiting: usize,
    /// Wait in seconds that a new miss would be promised.
    pub wait_seconds: f64,
}

impl Admission {
    /// Returns the state of each operation that has been called.
    pub(super) fn operations(&self) -> Vec<(Action, OperationStatus)> {
        let (breakers, now) = (self.breakers.lock(), Instant::now());
        let used = Action::ALL
            .into_iter()
            .filter(|action| breakers.operation(*action).is_used);
        used.map(|action| {
            let operation = breakers.operation(action);
            let held = HoldReason::ALL.into_iter();
            let is_throttled = self.pacer.throttled_for(action).is_some();
            let (background, paced) = (Priority::Background, self.paced_scope(action));
            let quota = operation.quota.reserved_for(background, paced, now);
            let held = held.filter(|reason| match reason {
                HoldReason::Throttled => is_throttled,
                HoldReason::Quota => quota.is_some(),
                HoldReason::Failing | HoldReason::Permission => {
                    operation.is_rejecting(*reason, now)
                }
            });
            let status = OperationStatus {
                breaker: operation.state(now).as_str(),
                held: held.map(HoldReason::as_str).collect(),
                quota: operation.quota.remaining().collect(),
                pace: self.pacer.status(action),
            };
            (action, status)
        })
        .collect()
    }

    /// Returns the state of an operation's pace and queue; `None` for an operation without a limit.
    pub(super) fn pace_status(&self, action: Action) -> Option<PaceStatus> {
        self.pacer.status(action)
    }
}
