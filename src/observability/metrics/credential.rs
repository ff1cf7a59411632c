//! Metrics and log of the central credential and of the clock.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::Metrics;
use crate::observability::logging::Condition;
use crate::signing::credentials::Observer;

impl Observer for Metrics {
    /// Exposes the source's counters at 0.
    fn source_known(&self, source: &'static str) {
        for label in ["ok", "error"] {
            self.credential_refreshes
                .with_label_values(&[source, label]);
        }
    }

    fn loaded(&self, source: &'static str, expires: Option<Timestamp>) {
        self.count_load(source, "ok");
        let expiry = expires.map(|at| at.as_millisecond() as f64 / 1000.0);
        self.credential_expiry.set(expiry.unwrap_or(f64::INFINITY));
        self.conditions.recovered(Condition::CredentialMissing, "");
    }

    fn failed(&self, source: &'static str) {
        self.count_load(source, "error");
    }

    fn not_renewed(&self, text: &dyn fmt::Display) {
        self.conditions
            .occurred(Condition::CredentialMissing, "", || text.to_string());
    }

    fn doubtful_profile(&self, key: &str, profile: &dyn fmt::Display) {
        self.conditions
            .occurred(Condition::ProfileDoubtful, key.to_owned(), || {
                profile.to_string()
            });
    }

    fn clock_corrected(&self, server: &str, offset: SignedDuration) {
        self.clock_offset.set(offset.as_secs_f64());
        self.conditions
            .occurred(Condition::ClockWrong, server.to_owned(), || {
                format!("off by {:.3} s", offset.as_secs_f64())
            });
    }
}

impl Metrics {
    fn count_load(&self, source: &str, result: &str) {
        self.credential_refreshes
            .with_label_values(&[source, result])
            .inc();
    }
}
