//! Metrics of connections, and of files that are read again.

use std::io;
use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::label::closed_labels;
use super::{Counters, Metrics, OnFirstUse, Success};
use crate::observability::logging::{Condition, Conditions};
use crate::observability::outcome::named_variants;
use crate::peer::Peer;
use crate::server::{HandshakeError, Observer};

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

    fn occurred(&self, condition: Condition, text: impl FnOnce() -> String) {
        self.conditions.occurred(condition, self.name, text);
    }
}

impl Observer for ListenerMetrics {
    fn accepted(&self) {
        self.conditions.recovered(Condition::AcceptFails, self.name);
    }

    fn accept_failed(&self, error: &io::Error) {
        self.occurred(Condition::AcceptFails, || error.to_string());
    }

    fn opened(&self) {
        self.open.inc();
    }

    fn closed(&self) {
        self.open.dec();
    }

    fn refused(&self) {
        self.refused.inc();
        self.occurred(Condition::ConnectionsRefused, String::new);
    }

    fn handshake_succeeded(&self) {
        self.handshakes.of(HandshakeResult::Ok).inc();
    }

    /// Logs nothing for a client that merely disconnects, as a load balancer's check of the port does.
    fn handshake_failed(&self, error: &HandshakeError, peer: &Peer) {
        let (result, condition) = match error {
            HandshakeError::Plain => (HandshakeResult::Failed, Some(Condition::PlainOnTlsPort)),
            HandshakeError::Refused(_) => {
                (HandshakeResult::Failed, Some(Condition::HandshakesFail))
            }
            HandshakeError::HungUp(_) => (HandshakeResult::Failed, None),
            HandshakeError::Timeout => (HandshakeResult::Timeout, Some(Condition::HandshakesFail)),
        };
        self.handshakes.of(result).inc();
        match condition {
            None => tracing::debug!(why = %error, "a TLS handshake did not end"),
            Some(condition) => self.occurred(condition, || format!("{error} (peer {peer})")),
        }
    }

    fn tls_on_plain_port(&self, peer: &Peer) {
        self.occurred(Condition::TlsOnPlainPort, || format!("peer {peer}"));
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
