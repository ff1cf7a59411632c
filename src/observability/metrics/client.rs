//! Metrics of each client.

use std::sync::OnceLock;

use prometheus::{IntCounter, IntCounterVec};

use super::{Metrics, OUTCOMES};
use crate::observability::outcome::Outcome;

/// Outcomes that alerts take rates of, by client.
const ALERTED: [Outcome; 2] = [Outcome::Denied, Outcome::Rejected];

/// The metrics of one client, whose name comes from the operator's file.
#[derive(Debug, Clone)]
pub struct ClientMetrics {
    name: Box<str>,
    family: IntCounterVec,
    requests: [OnceLock<IntCounter>; OUTCOMES],
    nonces_dropped: Option<IntCounter>,
}

impl ClientMetrics {
    pub(super) fn new(metrics: &Metrics, name: &str) -> Self {
        let client = Self {
            name: name.into(),
            family: (*metrics.client_requests).clone(),
            requests: Default::default(),
            nonces_dropped: metrics.nonces_dropped.get().cloned(),
        };
        for outcome in ALERTED {
            client.requests(outcome);
        }
        client
    }

    fn requests(&self, outcome: Outcome) -> &IntCounter {
        let labels = [&self.name, outcome.as_str()];
        self.requests[outcome as usize].get_or_init(|| self.family.with_label_values(&labels))
    }

    /// Counts one answer.
    pub fn answered(&self, outcome: Outcome) {
        self.requests(outcome).inc();
    }

    /// Counts one nonce that was forgotten before its time.
    pub fn nonce_dropped(&self) {
        if let Some(dropped) = &self.nonces_dropped {
            dropped.inc();
        }
    }
}

/// Drops a client's counters. A request that is still running may create one again.
pub(super) fn forget(family: &IntCounterVec, name: &str) {
    for outcome in Outcome::ALL {
        // An outcome that the client never had has no counter.
        family.remove_label_values(&[name, outcome.as_str()]).ok();
    }
}
