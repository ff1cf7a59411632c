//! Metrics of the keys that verify service accounts' tokens.

use prometheus::IntGauge;

use super::register::metrics;
use super::{Counters, Metrics, Success};

metrics! {
    /// Metrics of the keys that verify service accounts' tokens.
    pub struct ServiceAccountMetrics {
        /// Public keys by which service accounts' tokens are verified.
        keys: IntGauge = "token_keys",
        /// Attempts to load these keys; after an error the former ones stay in force.
        refreshes: Counters<Success> = "token_key_refreshes_total" at 0,
    }
}

impl ServiceAccountMetrics {
    /// Counts one attempt to load the keys, and sets how many there are now.
    pub fn loaded(&self, keys: Result<usize, ()>) {
        self.refreshes.of((&keys).into()).inc();
        if let Ok(keys) = keys {
            self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        }
    }
}

impl Metrics {
    /// Exposes at 0 what service accounts add: their keys, and each reason to refuse a token.
    pub fn expose_service_accounts(&self, reasons: &[&'static str]) {
        for reason in reasons {
            self.sign_ins_refused.with_label_values(&[reason]);
        }
        self.service_account_keys.expose();
    }
}
