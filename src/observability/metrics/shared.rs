//! Metrics of the shared cache: the commands sent to its server, and the state of the invalidation log.

use prometheus::{IntCounter, IntGauge};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::Counters;
use super::label::closed_labels;
use super::register::metrics;
use crate::observability::outcome::named_variants;

/// Command to the shared cache; the label `operation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SharedOperation {
    /// Reads an image, or takes the lease to fetch it.
    Get,
    /// Stores a fetched image, under the lease.
    Put,
    /// Extends the lease of a fetch that takes long.
    Renew,
    /// Gives a lease back without a value.
    Release,
    /// Appends an invalidation to the log that every replica reads.
    Invalidate,
    /// Reads the invalidation log.
    Orders,
    /// Records the nonce of a write, so that no replica accepts it again.
    Nonce,
    /// Takes slots of the fleet's pace, and gives others back.
    Pace,
    /// Announces this replica, and counts the fleet's.
    Beat,
    /// Takes or gives back the right to walk the catalogue for the fleet, stores its pages, and reads them.
    Walk,
}

/// Result of a command; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SharedResult {
    /// Done.
    Ok,
    /// The image was cached.
    Hit,
    /// The image was not cached, and this replica holds the lease to fetch it.
    Miss,
    /// The image was not cached, and another replica holds the lease.
    Wait,
    /// Another replica has just failed to fetch it.
    Failed,
    /// Its value was written by no gateway.
    Foreign,
    /// Its value was written by a gateway of another version.
    Version,
    /// Its value is damaged.
    Corrupt,
    /// The value was invalidated, or is too old by this replica's settings.
    Outdated,
    /// The lease expired and is another's, or an invalidation took it away; nothing was stored.
    Overtaken,
    /// No reply in time.
    Timeout,
    /// The connection broke, or the server refused.
    Error,
    /// The command was not sent: there is no connection, or the breaker is open.
    Skipped,
}

named_variants!(pub SharedOperation, pub SharedResult);
closed_labels! {
    SharedOperation => "operation",
    SharedResult => "result",
}

metrics! {
    /// Metrics of the shared cache.
    pub struct SharedMetrics {
        /// Commands to the shared cache, by result.
        requests: Counters<(SharedOperation, SharedResult)> = "shared_cache_requests_total",
        /// 1 while this replica is connected to a writable shared cache and has applied every invalidation.
        pub up: IntGauge = "shared_cache_up",
        /// Invalidations waiting to be written to the shared cache.
        pub pending_invalidations: IntGauge = "shared_cache_unheard_orders",
        /// Gaps in the invalidation log, after each of which every cached entry is fetched again.
        pub discontinuities: IntCounter = "shared_cache_discontinuities_total",
    }
}

impl SharedMetrics {
    /// Counts one request.
    pub fn count(&self, operation: SharedOperation, result: SharedResult) {
        self.requests.of((operation, result)).inc();
    }

    /// Iterates over the counts by operation and result, without zeros.
    pub fn requests(&self) -> impl Iterator<Item = (SharedOperation, SharedResult, u64)> {
        SharedOperation::ALL.into_iter().flat_map(move |operation| {
            SharedResult::ALL.into_iter().filter_map(move |result| {
                let count = self.requests.get((operation, result))?.get();
                (count > 0).then_some((operation, result, count))
            })
        })
    }
}
