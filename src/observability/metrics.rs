//! Every metric, and the only module that knows the `prometheus` crate.
//!
//! A scrape is paid for by the operator, so an idle gateway exposes at most 300 samples in 40 KB:
//!
//! - a metric is a field of a struct that `metrics!` declares; its doc comment is its help text;
//! - labels are enums (`closed_labels!` in `label`), so that [`Counters`], [`Gauges`] and [`Latencies`] find
//!   a child by index: counting costs an atomic add, without a hash or a lock. [`OpenCounters`] and
//!   [`OpenGauges`] are for names from the operator's files (`open_labels!`). No label comes from a request;
//! - a child is made on first use. Where deploy/alerts.yaml takes `rate` or `increase` of a counter, it is
//!   exposed at 0 from the start (`at 0`, or [`IndexedFamily::start`]), or the first increase would not be seen;
//! - what belongs to a part that may be switched off is an [`OnFirstUse`], which the part exposes at its
//!   start.
//!
//! To add a metric: a field here or in a group, a row in docs/metrics.md by
//! `pai-image-gateway docs metrics > docs/metrics.md`, which a test holds against the declarations.
//!
//! Sums that hold, and are tested:
//!
//! - `requests_total` is counted once per answer, of every outcome; its sum over outcomes equals the
//!   count of `request_duration_seconds`;
//! - `upstream_requests_total` is counted once per attempt that was sent; it and `upstream_resends_total`
//!   together are the requests that the origin saw.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{Gauge, IntCounter, IntGauge, Registry};

use crate::api::Action;
use crate::observability::logging::Conditions;
use crate::observability::outcome::{CallResult, Outcome, StaleReason};
use process::ProcessMetrics;
use register::{Metric, MetricSpec, metrics};

mod catalogue;
mod client;
mod count;
mod credential;
mod exposition;
mod family;
mod label;
mod latency;
mod listener;
mod page;
mod process;
mod refusals;
mod register;
mod service_accounts;
mod shared;
mod snapshot;
mod totals;
mod traces;

pub use catalogue::CatalogueMetrics;
pub use client::ClientMetrics;
pub use exposition::{Encoding, Exposition};
pub use family::{
    Counters, FloatGauges, Gauges, IndexedFamily, Latencies, OpenCounters, OpenGauges, TextFamily,
};
pub use label::{
    BreakerStateLabel, BuildVersion, CacheStore, ClientName, CredentialSource, EvictionCause,
    HoldReason, ListenerName, QuotaScope, RefusalReason, ReloadedPart, Success, TimedOperation,
};
pub use latency::{LatencyCounts, latency_counts, quantile, quantile_of_counts};
pub use listener::{HandshakeResult, ListenerMetrics, ReloadMetrics};
pub use refusals::ClientTotals;
pub use register::{AgeHistogram, OnFirstUse};
pub use service_accounts::ServiceAccountMetrics;
pub use shared::{SharedMetrics, SharedOperation, SharedResult};
pub use snapshot::SnapshotMetrics;
pub use traces::{ExportResult, SpanFate, TraceMetrics};

/// The lowest bound of the latency histograms, in seconds: shorter latencies are not told apart.
pub const SHORTEST_LATENCY: f64 = LATENCY_BUCKETS[0];

/// From the latency of hits to the longest deadline.
const LATENCY_BUCKETS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.0, 3.0, 5.0, 10.0,
];
const AGE_BUCKETS: [f64; 12] = [
    1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 4200.0, 21_600.0, 90_000.0,
];

const OUTCOMES: usize = Outcome::ALL.len();
const RESULTS: usize = CallResult::ALL.len();

/// Results that the alerts count as the origin's failures.
const FAILURES: [CallResult; 5] = [
    CallResult::Throttled,
    CallResult::ServerError,
    CallResult::Timeout,
    CallResult::Transport,
    CallResult::Credential,
];

metrics! {
    /// Every metric of one gateway, in a registry of its own.
    pub struct Metrics {
        /// The registry that a scrape renders.
        registry: Registry,
        /// Answered requests.
        requests: Counters<(Action, Outcome)> = "requests_total",
        /// Stale answers; their sum is that of `requests_total` with the outcome `stale`.
        pub stale_answers: Counters<StaleReason> = "stale_answers_total" at 0,
        /// Seconds from a request's head to its answer's; every operation but GetImage is `other`.
        request_durations: Latencies<(TimedOperation, Outcome)> = "request_duration_seconds",
        /// Calls sent to the origin, each retry as its own.
        upstream_requests: Counters<(Action, CallResult)> = "upstream_requests_total",
        /// Seconds from sending a call to its whole answer; every operation but GetImage is `other`.
        upstream_durations: Latencies<(TimedOperation, CallResult)> = "upstream_request_duration_seconds",
        /// Calls to the origin that are in flight.
        pub upstream_in_flight: IntGauge = "upstream_in_flight",
        /// Attempts beyond the first.
        pub upstream_retries: IntCounter = "upstream_retries_total",
        /// Reads sent again on a new connection because the idle one had been closed; no retries.
        pub upstream_resends: IntCounter = "upstream_resends_total",
        /// Calls that a breaker, the queue or the quota kept from being sent.
        pub upstream_unsent: Counters<Action> = "upstream_unsent_total",
        /// 1 while calls of an operation are held back for this reason.
        pub upstream_held: Gauges<(Action, HoldReason)> = "upstream_held",
        /// Calls a second that an operation may make now: as set, or less after throttles; by all replicas that share
        /// a cache, or by this replica alone while the shared cache is away.
        pub upstream_pace: FloatGauges<Action> = "upstream_pace",
        /// 1 while throttles keep the pace of an operation below the one that is set.
        pub upstream_pace_lowered: Gauges<Action> = "upstream_pace_lowered",
        /// Calls that wait for their turn in an operation's pace.
        pub upstream_queued: Gauges<Action> = "upstream_queued",
        /// Seconds that a new miss would be promised to wait for its turn.
        pub upstream_promised_wait: FloatGauges<Action> = "upstream_promised_wait_seconds",
        /// 1 for where the breaker stands that all operations share.
        pub breaker_state: OpenGauges<BreakerStateLabel> = "upstream_breaker_state",
        /// Calls left in the account's current period, as the origin last said.
        pub quota_remaining: Gauges<(Action, QuotaScope)> = "upstream_quota_remaining",
        /// Answers held.
        pub cache_entries: Gauges<CacheStore> = "cache_entries" at 0,
        /// Bytes of memory that the cached images take.
        pub cache_bytes: IntGauge = "cache_bytes",
        /// Bytes of memory that the cached images may take (`cache.max_bytes`).
        pub cache_max_bytes: IntGauge = "cache_max_bytes",
        /// Bytes of memory that the cached lists take.
        pub list_bytes: IntGauge = "cache_list_bytes",
        /// Bytes of memory that the cached lists may take (`lists.max_bytes`).
        pub list_max_bytes: IntGauge = "cache_list_max_bytes",
        /// Images removed from the cache.
        cache_evictions: Counters<EvictionCause> = "cache_evictions_total" at 0,
        /// Images whose id came back with another creation time or URI: a different object.
        pub cache_incarnations: IntCounter = "cache_incarnations_total",
        /// Answers whose blanket no-store, no-cache, max-age=0 or s-maxage=0 was ignored (`freshness.origin_cache_control`).
        pub origin_directives_ignored: IntCounter = "origin_directives_ignored_total",
        /// Seconds that stored answers stay fresh.
        pub cache_ttl: AgeHistogram = "cache_ttl_seconds",
        /// Age in seconds of answers served from memory.
        pub cache_age: AgeHistogram = "cache_age_seconds",
        /// Unix time at which the credential in use expires; +Inf for never, 0 before the first.
        credential_expiry: Gauge = "credential_expiry_timestamp_seconds",
        /// Attempts to load the credential.
        credential_refreshes: OpenCounters<(CredentialSource, Success)> = "credential_refreshes_total",
        /// Seconds added to this machine's clock when signing.
        pub clock_offset: Gauge = "clock_offset_seconds",
        /// Open connections.
        connections: OpenGauges<ListenerName> = "connections",
        /// Connections refused at the limit.
        connections_refused: OpenCounters<ListenerName> = "connections_refused_total",
        /// TLS handshakes on the data port.
        handshakes: Arc<OnFirstUse<Counters<HandshakeResult>>> = "tls_handshakes_total" at 0,
        /// Unix time at which the certificate that the data port serves expires.
        certificate_expiry: OnFirstUse<Gauge> = "tls_certificate_expiry_timestamp_seconds",
        /// Reloads of changed files, by the part that they configure; after an error the old ones stay in force.
        reloads: OpenCounters<(ReloadedPart, Success)> = "reloads_total",
        /// Answered requests, by client.
        client_requests: OpenCounters<(ClientName, Outcome)> = "client_requests_total",
        /// Requests whose authentication was refused.
        sign_ins_refused: OpenCounters<RefusalReason> = "sign_ins_refused_total",
        /// Nonces remembered, so that no signed request is accepted twice.
        pub nonces_remembered: OnFirstUse<IntGauge> = "nonces",
        /// Nonces dropped before they expired, because a client had too many.
        pub nonces_dropped: OnFirstUse<IntCounter> = "nonces_dropped_total",
        /// Nonces of writes journalled before their write was sent.
        pub write_journal: Arc<OnFirstUse<Counters<Success>>> = "write_journal_writes_total" at 0,
        /// Audit lines that could not be written.
        pub audit_lost: OnFirstUse<IntCounter> = "audit_lines_lost_total",
        /// Log lines that could not be written, mostly because nobody read them.
        pub log_lost: IntCounter = "log_lines_lost_total",
        /// Admin requests without a valid token, or that another site had a browser send.
        pub admin_refused: IntCounter = "admin_refused_total",
        /// Purges carried out by the admin listener.
        pub purges: IntCounter = "purges_total",
        /// Requests that ended in a panic.
        pub panics: IntCounter = "panics_total",
        /// Tasks alive: one for each connection and fetch, and a few services.
        pub tasks: IntGauge = "tasks",
        /// The running version, always 1.
        build_info: OpenGauges<BuildVersion> = "build_info",
        /// Metrics of the keys that verify service accounts' tokens.
        pub service_account_keys: OnFirstUse<ServiceAccountMetrics>,
        /// Metrics of the shared cache.
        pub shared: OnFirstUse<SharedMetrics>,
        /// Metrics of the catalogue.
        pub catalogue: OnFirstUse<CatalogueMetrics>,
        /// Metrics of the snapshot.
        pub snapshot: OnFirstUse<SnapshotMetrics>,
        /// Metrics of traces that are sent away.
        pub traces: OnFirstUse<TraceMetrics>,
        /// Metrics of this process.
        process: OnFirstUse<Mutex<ProcessMetrics>>,
        /// Recurring failures, for the log.
        pub conditions: Conditions,
    }
}

impl Metrics {
    /// Creates a registry and registers every metric of a part that cannot be switched off.
    #[must_use]
    pub fn new() -> Self {
        let group = MetricSpec {
            name: "",
            doc: "",
            at_zero: false,
        };
        let metrics = Self::register(&Registry::new(), group);
        metrics.start();
        metrics
    }

    /// Exposes at 0 what alerts take rates of, and one latency histogram of each kind for dashboards.
    fn start(&self) {
        let of_get_image = |outcome| (Action::GetImage, outcome);
        self.requests.start(Outcome::ALL.map(of_get_image));
        let failed = |action| (action, Outcome::Error);
        self.requests.start(Action::ALL.map(failed));
        let of_get_image = |result| (Action::GetImage, result);
        self.upstream_requests
            .start(CallResult::ALL.map(of_get_image));
        self.upstream_unsent.start([Action::GetImage]);
        self.start_failures(&[Action::ListImages, Action::ListImageLabels]);
        self.request_durations
            .start([(TimedOperation::GetImage, Outcome::Hit)]);
        self.upstream_durations
            .start([(TimedOperation::GetImage, CallResult::Ok)]);
        self.build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
    }

    fn start_failures(&self, actions: &[Action]) {
        for action in actions {
            let failed = FAILURES.map(|result| (*action, result));
            self.upstream_requests.start(failed);
            self.upstream_unsent.start([*action]);
        }
    }

    /// Exposes at 0 the failures of writes, where they are passed on.
    pub fn expose_writes(&self) {
        self.start_failures(&[
            Action::AddImage,
            Action::AddImageLabels,
            Action::RemoveImageLabels,
            Action::PublishImage,
            Action::RemoveImage,
        ]);
    }

    /// Returns the metrics of the listener of this name.
    #[must_use]
    pub fn listener(&self, name: &'static str) -> ListenerMetrics {
        ListenerMetrics::new(self, name)
    }

    /// Returns the counters of changes of this part's files.
    #[must_use]
    pub fn reloads(&self, part: &'static str) -> ReloadMetrics {
        ReloadMetrics::new(&self.reloads, part, self.conditions.clone())
    }

    /// Returns the metrics of the client of this name, which comes from the operator's file, never from a request.
    #[must_use]
    pub fn client(&self, name: &str) -> ClientMetrics {
        ClientMetrics::new(self, name)
    }

    /// Drops the counters of a client that the operator has removed.
    pub fn forget_client(&self, name: &str) {
        client::forget(&self.client_requests, name);
    }

    /// Exposes at 0 the counters of clients that authenticate, by each reason to refuse one.
    pub fn expose_authentication(&self, reasons: &[&'static str]) {
        for reason in reasons {
            self.sign_ins_refused.with_label_values(&[reason]);
        }
        self.nonces_remembered.expose();
        self.nonces_dropped.expose();
    }

    /// Renders every exposed metric in Prometheus' text format 0.0.4, with the process's own as they are now.
    #[must_use]
    pub fn render(&self) -> String {
        process::update(&self.process);
        exposition::render(&self.registry)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
