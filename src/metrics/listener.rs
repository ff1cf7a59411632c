//! What is counted about connections, and about files that are read again.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::register::Register;

/// Every listener's metrics, by name.
#[derive(Debug)]
pub(super) struct Listeners {
    open: IntGaugeVec,
    refused: IntCounterVec,
    handshakes: [IntCounter; 3],
}

/// What one listener counts.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    /// Open connections.
    pub open: IntGauge,
    /// Connections refused at the limit.
    pub refused: IntCounter,
    handshakes: [IntCounter; 3],
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The connection is encrypted.
    Ok,
    /// One side refused the other, or what came was no TLS.
    Failed,
    /// It did not end in time.
    Timeout,
}

/// What is counted about one part's files.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    ok: IntCounter,
    error: IntCounter,
}

impl Listeners {
    pub(super) fn new(register: &Register<'_>) -> Self {
        let handshakes = register.counters(
            "tls_handshakes_total",
            "TLS handshakes on the data port.",
            &["result"],
        );
        Self {
            open: register.gauges("connections", "Open connections.", &["listener"]),
            refused: register.counters(
                "connections_refused_total",
                "Connections refused at the limit.",
                &["listener"],
            ),
            handshakes: Handshake::ALL
                .map(|result| handshakes.with_label_values(&[result.as_str()])),
        }
    }

    pub(super) fn named(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            open: self.open.with_label_values(&[name]),
            refused: self.refused.with_label_values(&[name]),
            handshakes: self.handshakes.clone(),
        }
    }
}

impl ListenerMetrics {
    /// Counts one TLS handshake.
    pub fn shook_hands(&self, result: Handshake) {
        self.handshakes[result as usize].inc();
    }
}

impl Handshake {
    /// In the order of the discriminants.
    const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Timeout];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

impl ReloadMetrics {
    pub(super) fn new(reloads: &IntCounterVec, part: &str) -> Self {
        let [ok, error] = ["ok", "error"].map(|result| reloads.with_label_values(&[part, result]));
        Self { ok, error }
    }

    /// Counts one change of the part's files.
    pub fn reloaded<T, E>(&self, loaded: &Result<T, E>) {
        match loaded {
            Ok(_) => self.ok.inc(),
            Err(_) => self.error.inc(),
        }
    }
}
