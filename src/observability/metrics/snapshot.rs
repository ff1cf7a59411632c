//! Metrics of the snapshot and its journal.

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::label::closed_labels;
use super::register::metrics;
use super::{Counters, Gauges, Success};
use crate::observability::outcome::named_variants;

named_variants!(Snapshot);
closed_labels!(Snapshot => "snapshot");

metrics! {
    /// Metrics of the snapshot.
    pub struct SnapshotMetrics {
        /// Attempts to write the snapshot.
        writes: Counters<Success> = "snapshot_writes_total" at 0,
        /// Invalidations journalled beside the snapshot.
        orders: Counters<Success> = "snapshot_journal_writes_total" at 0,
        /// Images restored at start (`loaded`) and in the latest snapshot (`written`).
        entries: Gauges<Snapshot> = "snapshot_entries" at 0,
    }
}

/// A snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
enum Snapshot {
    /// The one that was read at start.
    Loaded,
    /// The one that was last written.
    Written,
}

impl SnapshotMetrics {
    /// Sets how many images were restored at start.
    pub fn loaded(&self, images: usize) {
        self.set(Snapshot::Loaded, images);
    }

    /// Counts one attempt to write the snapshot, and sets how many images it holds now.
    pub fn wrote<E>(&self, images: &Result<usize, E>) {
        self.writes.of(images.into()).inc();
        if let Ok(images) = images {
            self.set(Snapshot::Written, *images);
        }
    }

    /// Counts one invalidation that was to be journalled.
    pub fn journalled<E>(&self, result: &Result<(), E>) {
        self.orders.of(result.into()).inc();
    }

    fn set(&self, snapshot: Snapshot, images: usize) {
        let images = i64::try_from(images).unwrap_or(i64::MAX);
        self.entries.of(snapshot).set(images);
    }
}
