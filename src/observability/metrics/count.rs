//! Counting of what happens once for each request, call or entry.

use std::time::Duration;

use moka::notification::RemovalCause;

use super::{EvictionCause, Metrics};
use crate::api::Action;
use crate::observability::outcome::{CallResult, Outcome};

impl Metrics {
    /// Counts one request whose authentication was refused, by reason.
    pub fn authentication_refused(&self, reason: &'static str) {
        self.sign_ins_refused.with_label_values(&[reason]).inc();
    }

    /// Counts one answer.
    pub fn answered(&self, action: Action, outcome: Outcome, took: Duration) {
        self.requests.of((action, outcome)).inc();
        let took = took.as_secs_f64();
        self.request_durations
            .of((action.into(), outcome))
            .observe(took);
    }

    /// Counts one attempt that was sent.
    pub fn called(&self, action: Action, result: CallResult, took: Duration) {
        self.upstream_requests.of((action, result)).inc();
        let took = took.as_secs_f64();
        self.upstream_durations
            .of((action.into(), result))
            .observe(took);
    }

    /// Sets when the served certificate expires, in seconds since 1970; nothing is exposed where that is
    /// unknown.
    pub fn certificate_served(&self, not_after: Option<u64>) {
        if let Some(not_after) = not_after {
            self.certificate_expiry.set(not_after as f64);
        }
    }

    /// Counts one entry that left the image store.
    pub fn cache_evicted(&self, cause: RemovalCause) {
        let cause = match cause {
            RemovalCause::Expired => EvictionCause::Expired,
            RemovalCause::Explicit | RemovalCause::Replaced => EvictionCause::Removed,
            RemovalCause::Size => EvictionCause::Size,
        };
        self.cache_evictions.of(cause).inc();
    }
}
