//! What is counted about the tier that a fleet shares.

use prometheus::{IntCounter, IntGauge};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::Counters;
use super::label::closed_labels;
use super::register::metrics;
use crate::observability::outcome::named_variants;

/// What is asked of the shared tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SharedOperation {
    /// To read an image, or to become the one who fetches it.
    Get,
    /// To store what was fetched.
    Put,
    /// To keep the lease of a fetch that takes its time.
    Renew,
    /// To give a lease back without an answer.
    Release,
    /// To tell every replica what to forget.
    Invalidate,
    /// To read what others were told.
    Orders,
    /// To record the nonce of a write.
    Nonce,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SharedResult {
    /// Done.
    Ok,
    /// The image was there.
    Hit,
    /// It was not, and this replica fetches it.
    Miss,
    /// It was not, and another replica fetches it.
    Wait,
    /// Another replica has just failed to fetch it.
    Failed,
    /// Its value was written by no gateway.
    Foreign,
    /// Its value was written by a gateway of another version.
    Version,
    /// Its value is damaged.
    Corrupt,
    /// Its value was ordered to be forgotten, or is too old by this replica's settings.
    Outdated,
    /// Not done: the lease is another's by now, or was taken away by an order to forget.
    Overtaken,
    /// No reply in time.
    Timeout,
    /// The connection broke, or the server refused.
    Error,
    /// Not asked: there is no connection, or it has failed too often.
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
        pub unheard: IntGauge = "shared_cache_unheard_orders",
        /// Gaps in the invalidation log, after each of which every cached entry is fetched again.
        pub discontinuities: IntCounter = "shared_cache_discontinuities_total",
    }
}

impl SharedMetrics {
    /// Counts one request.
    pub fn count(&self, operation: SharedOperation, result: SharedResult) {
        self.requests.of((operation, result)).inc();
    }

    /// How often, by operation and result; only what happened.
    pub fn requests(&self) -> impl Iterator<Item = (SharedOperation, SharedResult, u64)> {
        SharedOperation::ALL.into_iter().flat_map(move |operation| {
            SharedResult::ALL.into_iter().filter_map(move |result| {
                let count = self.requests.get((operation, result))?.get();
                (count > 0).then_some((operation, result, count))
            })
        })
    }
}
