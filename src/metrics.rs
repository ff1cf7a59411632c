//! Every metric, and the only module that knows the `prometheus` crate.
//!
//! Children of labelled metrics are resolved once, at start, and found by index: counting costs an
//! atomic add. Labels come from enums, never from a request. What must hold, and is tested:
//!
//! - `requests_total` is counted once per answer, whatever the road; its sum over outcomes equals the
//!   count of `request_duration_seconds`;
//! - `upstream_requests_total` is counted once per attempt that was sent.

use std::time::Duration;

use moka::notification::RemovalCause;
use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use crate::api::Action;
use crate::outcome::{CallResult, Outcome};
use crate::telemetry::Conditions;
use client::Clients;
use listener::Listeners;
use register::{Register, by_two};

mod client;
mod latency;
mod listener;
mod register;
mod shared;
mod snapshot;
mod traces;

pub use client::ClientMetrics;
pub use latency::quantile;
pub use listener::{Handshake, ListenerMetrics, ReloadMetrics};
pub use shared::{SharedMetrics, SharedOperation, SharedResult};
pub use snapshot::SnapshotMetrics;
pub use traces::{Export, SpanFate, TraceMetrics};

/// Shorter latencies are not told apart, in seconds.
pub const SHORTEST: f64 = 0.000_05;

/// From where hits live to the longest deadline.
const LATENCY_BUCKETS: [f64; 18] = [
    SHORTEST, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.0, 3.0, 5.0, 10.0,
];
const AGE_BUCKETS: [f64; 12] = [
    1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 4200.0, 21_600.0, 90_000.0,
];

const OUTCOMES: usize = Outcome::ALL.len();
const ACTIONS: usize = Action::ALL.len();
const RESULTS: usize = CallResult::ALL.len();

/// Every metric of one gateway, in a registry of its own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: [[IntCounter; OUTCOMES]; ACTIONS],
    request_durations: [[Histogram; OUTCOMES]; ACTIONS],
    upstream_requests: [[IntCounter; RESULTS]; ACTIONS],
    upstream_durations: [[Histogram; RESULTS]; ACTIONS],
    /// Attempts on the wire now.
    pub upstream_in_flight: IntGauge,
    /// Attempts beyond the first.
    pub upstream_retries: IntCounter,
    /// Attempts that the breaker, the queue or the quota kept from being sent.
    pub upstream_held: IntCounter,
    /// 1 for where the breaker stands, by `state`.
    pub breaker_state: IntGaugeVec,
    /// Calls left in the account's current period, by `scope`.
    pub quota_remaining: IntGaugeVec,
    /// Answers held: images, then negatives.
    pub cache_entries: [IntGauge; 2],
    /// What the held images weigh.
    pub cache_bytes: IntGauge,
    /// What they may weigh.
    pub cache_max_bytes: IntGauge,
    cache_evictions: [IntCounter; 3],
    /// Ids that came to name another object.
    pub cache_incarnations: IntCounter,
    /// The origin's no-store and no-cache that the settings say to ignore.
    pub origin_directives_ignored: IntCounter,
    /// ttl of stored answers.
    pub cache_ttl: Histogram,
    /// Age of answers served from memory.
    pub cache_age: Histogram,
    credential_expiry: Gauge,
    credential_refreshes: IntCounterVec,
    /// What is added to our clock when signing.
    pub clock_offset: Gauge,
    listeners: Listeners,
    reloads: IntCounterVec,
    clients: Clients,
    sign_ins_refused: IntCounterVec,
    /// Nonces remembered, of all clients.
    pub nonces_remembered: IntGauge,
    /// Lines of the audit that could not be written.
    pub audit_lost: IntCounter,
    /// Requests that panicked.
    pub panics: IntCounter,
    /// Tasks alive: connections, fetches, services.
    pub tasks: IntGauge,
    /// What is counted about the shared tier.
    pub shared: SharedMetrics,
    /// What the keeper of the snapshot counts.
    pub snapshot: SnapshotMetrics,
    /// What is counted about traces that are sent away.
    pub traces: TraceMetrics,
    /// Recurring troubles, for the log.
    pub conditions: Conditions,
}

impl Metrics {
    /// Registers everything.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let register = Register(&registry);
        let requests = register.counters(
            "requests_total",
            "Requests answered.",
            &["operation", "outcome"],
        );
        let durations = register.histograms(
            "request_duration_seconds",
            "Time from the request's head to its answer.",
            &["operation", "outcome"],
        );
        let calls = register.counters(
            "upstream_requests_total",
            "Attempts sent to the origin.",
            &["operation", "result"],
        );
        let call_durations = register.histograms(
            "upstream_request_duration_seconds",
            "Time from sending an attempt to its whole answer.",
            &["operation", "result"],
        );
        let breaker = register.gauges(
            "upstream_breaker_state",
            "1 for where the breaker stands.",
            &["state"],
        );
        let entries = register.gauges("cache_entries", "Answers held.", &["store"]);
        let evictions = register.counters(
            "cache_evictions_total",
            "Entries that left the image store.",
            &["cause"],
        );
        register
            .gauges("build_info", "Always 1.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        register.process();
        Self {
            requests: by_two(
                &Action::ALL.map(Action::as_str),
                &Outcome::ALL.map(Outcome::as_str),
                &requests,
            ),
            request_durations: by_two(
                &Action::ALL.map(Action::as_str),
                &Outcome::ALL.map(Outcome::as_str),
                &durations,
            ),
            upstream_requests: by_two(
                &Action::ALL.map(Action::as_str),
                &CallResult::ALL.map(CallResult::as_str),
                &calls,
            ),
            upstream_durations: by_two(
                &Action::ALL.map(Action::as_str),
                &CallResult::ALL.map(CallResult::as_str),
                &call_durations,
            ),
            upstream_in_flight: register.gauge("upstream_in_flight", "Attempts on the wire now."),
            upstream_retries: register
                .counter("upstream_retries_total", "Attempts beyond the first."),
            upstream_held: register.counter(
                "upstream_held_total",
                "Attempts that the breaker, the queue or the quota kept from being sent.",
            ),
            breaker_state: breaker,
            quota_remaining: register.gauges(
                "upstream_quota_remaining",
                "Calls left in the account's current period, as the origin last said.",
                &["scope"],
            ),
            cache_entries: ["images", "negative"].map(|store| entries.with_label_values(&[store])),
            cache_bytes: register.gauge("cache_bytes", "What the held images weigh."),
            cache_max_bytes: register.gauge("cache_max_bytes", "What they may weigh."),
            cache_evictions: ["expired", "removed", "size"]
                .map(|cause| evictions.with_label_values(&[cause])),
            cache_incarnations: register.counter(
                "cache_incarnations_total",
                "Ids that came to name another object than before.",
            ),
            origin_directives_ignored: register.counter(
                "origin_directives_ignored_total",
                "no-store and no-cache of the origin that settings ignore.",
            ),
            cache_ttl: register.histogram(
                "cache_ttl_seconds",
                "ttl of stored answers.",
                &AGE_BUCKETS,
            ),
            cache_age: register.histogram(
                "cache_age_seconds",
                "Age of answers served from memory.",
                &AGE_BUCKETS,
            ),
            credential_expiry: register.float(
                "credential_expiry_timestamp_seconds",
                "When the credential in use expires; +Inf for never.",
            ),
            credential_refreshes: register.counters(
                "credential_refreshes_total",
                "Attempts to load the credential.",
                &["source", "result"],
            ),
            clock_offset: register.float(
                "clock_offset_seconds",
                "What is added to our clock when signing.",
            ),
            listeners: Listeners::new(&register),
            reloads: register.counters(
                "reloads_total",
                "Changes of a part's files; after an error the old ones stay in force.",
                &["part", "result"],
            ),
            clients: Clients::new(&register),
            sign_ins_refused: register.counters(
                "sign_ins_refused_total",
                "Requests whose sender was not let in.",
                &["reason"],
            ),
            nonces_remembered: register.gauge(
                "nonces",
                "Nonces remembered, so that no request is carried out twice.",
            ),
            audit_lost: register.counter(
                "audit_lines_lost_total",
                "Lines of the audit that could not be written.",
            ),
            panics: register.counter("panics_total", "Requests that ended in a panic."),
            tasks: register.gauge(
                "tasks",
                "Tasks alive: one for each connection and fetch, and a few services.",
            ),
            shared: SharedMetrics::new(&register),
            snapshot: SnapshotMetrics::new(&register),
            traces: TraceMetrics::new(&register),
            conditions: Conditions::default(),
            registry,
        }
    }

    /// What the listener of this name counts.
    #[must_use]
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        self.listeners.named(name)
    }

    /// What is counted when this part's files change.
    #[must_use]
    pub fn reloads(&self, part: &'static str) -> ReloadMetrics {
        ReloadMetrics::new(&self.reloads, part)
    }

    /// What the client of this name counts; its names come from the operator's file.
    #[must_use]
    pub fn client(&self, name: &str) -> ClientMetrics {
        self.clients.named(name)
    }

    /// Drops the counters of a client that is none any more.
    pub fn forget_client(&self, name: &str) {
        self.clients.forget(name);
    }

    /// Counts one request whose sender was not let in.
    pub fn sign_in_refused(&self, reason: &'static str) {
        self.sign_ins_refused.with_label_values(&[reason]).inc();
    }

    /// Counts one answer.
    pub fn answered(&self, action: Action, outcome: Outcome, took: Duration) {
        self.requests[action as usize][outcome as usize].inc();
        self.request_durations[action as usize][outcome as usize].observe(took.as_secs_f64());
    }

    /// Counts one attempt that was sent.
    pub fn called(&self, action: Action, result: CallResult, took: Duration) {
        self.upstream_requests[action as usize][result as usize].inc();
        self.upstream_durations[action as usize][result as usize].observe(took.as_secs_f64());
    }

    /// Counts one entry that left the image store.
    pub fn cache_evicted(&self, cause: RemovalCause) {
        let [expired, removed, size] = &self.cache_evictions;
        match cause {
            RemovalCause::Expired => expired.inc(),
            RemovalCause::Explicit | RemovalCause::Replaced => removed.inc(),
            RemovalCause::Size => size.inc(),
        }
    }

    /// Counts one attempt to load the credential. `expiry` is in seconds since 1970; `None` for never.
    pub fn credential_loaded(&self, source: &str, result: Result<Option<f64>, ()>) {
        let label = if result.is_ok() { "ok" } else { "error" };
        self.credential_refreshes
            .with_label_values(&[source, label])
            .inc();
        if let Ok(expiry) = result {
            self.credential_expiry.set(expiry.unwrap_or(f64::INFINITY));
        }
    }

    /// Answers so far by outcome, for one operation or all.
    #[must_use]
    pub fn requests(&self, only: Option<Action>) -> [u64; OUTCOMES] {
        let chosen = Action::ALL
            .into_iter()
            .filter(|action| only.is_none_or(|only| only == *action));
        let mut sums = [0; OUTCOMES];
        for action in chosen {
            for (sum, counter) in sums.iter_mut().zip(&self.requests[action as usize]) {
                *sum += counter.get();
            }
        }
        sums
    }

    /// Attempts so far by result, over all operations.
    #[must_use]
    pub fn upstream_requests(&self) -> [u64; RESULTS] {
        std::array::from_fn(|result| {
            self.upstream_requests
                .iter()
                .map(|by_result| by_result[result].get())
                .sum()
        })
    }

    /// GetImage's latency histograms, by outcome.
    #[must_use]
    pub fn latencies(&self) -> &[Histogram; OUTCOMES] {
        &self.request_durations[Action::GetImage as usize]
    }

    /// The exposition, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            tracing::error!(%error, "the metrics could not be written");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
