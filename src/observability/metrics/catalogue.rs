//! Metrics of the catalogue: its walks, and what its items did.

use prometheus::{IntCounter, IntGauge};

use super::label::{MemberName, VerboseOption, WalkedScope};
use super::register::metrics;
use super::{Counters, OpenCounters, OpenGauges, Success};

metrics! {
    /// Metrics of the catalogue.
    pub struct CatalogueMetrics {
        /// Walks through all pages of a workspace, or of the official images.
        pub walks: Counters<Success> = "catalogue_walks_total" at 0,
        /// Pages of ListImages that walks have read.
        pub pages: IntCounter = "catalogue_pages_total",
        /// Walks of other replicas whose pages were applied here.
        pub shared_walks: IntCounter = "catalogue_shared_walks_total",
        /// Images with an item.
        pub images: IntGauge = "catalogue_images",
        /// Bytes of memory that items take.
        pub bytes: IntGauge = "catalogue_bytes",
        /// Bytes of memory that items may take (`catalogue.max_bytes`).
        pub max_bytes: IntGauge = "catalogue_max_bytes",
        /// 1 while items answer for images that are not cached, by the Verbose of the request.
        pub answering: OpenGauges<VerboseOption> = "catalogue_answering",
        /// Unix time at which the last whole walk ended, 0 before the first.
        pub last_walk: OpenGauges<WalkedScope> = "catalogue_last_walk_timestamp_seconds",
        /// Entries that a page renewed.
        pub renewed: IntCounter = "catalogue_renewed_total",
        /// Entries whose image a page showed changed.
        pub changed: IntCounter = "catalogue_changed_total",
        /// Images that were not cached and were answered from their item.
        pub answered: IntCounter = "catalogue_answered_total",
        /// Items that differ from GetImage's answer although the image did not change, by member.
        pub mismatches: OpenCounters<MemberName> = "catalogue_mismatches_total",
    }
}
