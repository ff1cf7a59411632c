//! What is counted of each client.

use prometheus::{IntCounter, IntCounterVec};

use super::OUTCOMES;
use super::register::Register;
use crate::outcome::Outcome;

/// The counters of every client; names come from the operator's file, never from a request.
#[derive(Debug)]
pub(super) struct Clients {
    requests: IntCounterVec,
    nonces_dropped: IntCounter,
}

/// What one client counts.
#[derive(Debug, Clone)]
pub struct ClientMetrics {
    requests: [IntCounter; OUTCOMES],
    nonces_dropped: IntCounter,
}

impl Clients {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            requests: register.counters(
                "client_requests_total",
                "Requests answered, by client.",
                &["client", "outcome"],
            ),
            nonces_dropped: register.counter(
                "nonces_dropped_total",
                "Nonces forgotten before their time, because a client had too many.",
            ),
        }
    }

    pub(super) fn named(&self, name: &str) -> ClientMetrics {
        let count = |outcome: Outcome| self.requests.with_label_values(&[name, outcome.as_str()]);
        ClientMetrics {
            requests: Outcome::ALL.map(count),
            nonces_dropped: self.nonces_dropped.clone(),
        }
    }

    pub(super) fn forget(&self, name: &str) {
        for outcome in Outcome::ALL {
            let labels = [name, outcome.as_str()];
            if let Err(error) = self.requests.remove_label_values(&labels) {
                tracing::debug!(%error, "a client had no counter");
            }
        }
    }
}

impl ClientMetrics {
    /// Counts one answer.
    pub fn answered(&self, outcome: Outcome) {
        self.requests[outcome as usize].inc();
    }

    /// Counts one nonce that was forgotten before its time.
    pub fn nonce_dropped(&self) {
        self.nonces_dropped.inc();
    }
}
