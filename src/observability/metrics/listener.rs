//! Metrics of connections, and of files that are read again.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::label::closed_labels;
use super::{Counters, Metrics, OnFirstUse, Success};
use crate::observability::logging::Conditions;
use crate::observability::outcome::named_variants;

named_variants!(HandshakeResult);
closed_labels!(HandshakeResult => "result");

/// The metrics of one listener.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    /// The listener's name: `data`, `admin` or `observe`.
    pub name: &'static str,
    /// Recurring troubles, for the log.
    pub conditions: Conditions,
    /// Open connections.
    pub open: IntGauge,
    /// Connections refused at the limit.
    pub refused: IntCounter,
    handshakes: Arc<OnFirstUse<Counters<HandshakeResult>>>,
}

/// The end of a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum HandshakeResult {
    /// The connection is encrypted.
    Ok,
    /// One side refused the other, or what came was no TLS.
    Failed,
    /// It did not end in time.
    Timeout,
}

/// Counts changes of one part's files.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    /// Recurring troubles, for the log.
    pub conditions: Conditions,
    ok: IntCounter,
    error: IntCounter,
}

impl ListenerMetrics {
    pub(super) fn new(metrics: &Metrics, name: &'static str) -> Self {
        Self {
            name,
            conditions: metrics.conditions.clone(),
            open: metrics.connections.with_label_values(&[name]),
            refused: metrics.connections_refused.with_label_values(&[name]),
            handshakes: Arc::clone(&metrics.handshakes),
        }
    }

    /// Counts one TLS handshake.
    pub fn count_handshake(&self, result: HandshakeResult) {
        self.handshakes.of(result).inc();
    }
}

impl ReloadMetrics {
    pub(super) fn new(reloads: &IntCounterVec, part: &str, conditions: Conditions) -> Self {
        let [ok, error] = ["ok", "error"].map(|result| reloads.with_label_values(&[part, result]));
        Self {
            conditions,
            ok,
            error,
        }
    }

    /// Counts one change of the part's files.
    pub fn reloaded<T, E>(&self, loaded: &Result<T, E>) {
        match Success::from(loaded) {
            Success::Ok => self.ok.inc(),
            Success::Error => self.error.inc(),
        }
    }
}
