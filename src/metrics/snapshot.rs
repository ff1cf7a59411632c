//! What is counted about the snapshot and its journal.

use prometheus::{IntCounter, IntGauge};

use super::register::Register;

/// What the keeper of the snapshot counts.
#[derive(Debug)]
pub struct SnapshotMetrics {
    writes: [IntCounter; 2],
    orders: [IntCounter; 2],
    entries: [IntGauge; 2],
}

/// How writing a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Ok,
    Error,
}

impl SnapshotMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        let writes = register.counters(
            "snapshot_writes_total",
            "Attempts to write the snapshot.",
            &["result"],
        );
        let orders = register.counters(
            "snapshot_journal_writes_total",
            "Purges and writes journalled beside the snapshot before they were answered.",
            &["result"],
        );
        let entries = register.gauges(
            "snapshot_entries",
            "Images restored at start, and in the snapshot last written.",
            &["snapshot"],
        );
        let results = Written::ALL.map(Written::as_str);
        Self {
            writes: results.map(|result| writes.with_label_values(&[result])),
            orders: results.map(|result| orders.with_label_values(&[result])),
            entries: ["loaded", "written"].map(|which| entries.with_label_values(&[which])),
        }
    }

    /// Tells how many images were restored at start.
    pub fn loaded(&self, images: usize) {
        let [loaded, _] = &self.entries;
        loaded.set(i64::try_from(images).unwrap_or(i64::MAX));
    }

    /// Counts one attempt to write the snapshot, and tells how many images it holds now.
    pub fn wrote<E>(&self, images: &Result<usize, E>) {
        self.writes[Written::of(images) as usize].inc();
        if let Ok(images) = images {
            let [_, written] = &self.entries;
            written.set(i64::try_from(*images).unwrap_or(i64::MAX));
        }
    }

    /// Counts one order that was to be journalled.
    pub fn journalled<E>(&self, result: &Result<(), E>) {
        self.orders[Written::of(result) as usize].inc();
    }
}

impl Written {
    /// In the order of the discriminants.
    const ALL: [Self; 2] = [Self::Ok, Self::Error];

    const fn of<T, E>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(_) => Self::Error,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}
