//! Counters of requests, responses and faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use pai_api::Action;

/// Snapshot of the counts since the start. Requests to `/emulator/…` are in none of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Requests that were read completely, whatever the response.
    pub requests: u64,
    /// Authenticated requests by operation, as `x-acs-action` spells it.
    pub operations: BTreeMap<String, u64>,
    /// Requests that failed authentication, by reason: `signature`, `clock`, `nonce`, …
    pub rejected: BTreeMap<String, u64>,
    /// Responses by Code, successful ones as `OK`. They are counted before a fault changes them.
    pub codes: BTreeMap<String, u64>,
    /// Faults applied, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Nonces in memory.
    pub nonces: u64,
    /// Authenticated GetImage requests by image, found or not, whatever the response.
    pub fetches: BTreeMap<String, u64>,
}

impl Counts {
    /// Returns the number of authenticated GetImage requests for this image.
    #[must_use]
    pub fn fetches(&self, image: &str) -> u64 {
        self.fetches.get(image).copied().unwrap_or(0)
    }
}

/// Counters that are updated while the emulator runs.
#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    requests: AtomicU64,
    operations: [AtomicU64; Action::ALL.len()],
    rejected: NamedCounts,
    codes: NamedCounts,
    faults: NamedCounts,
    fetches: NamedCounts,
}

impl Counters {
    pub(super) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn operation(&self, action: Action) {
        if let Some(count) = self.operations.get(action as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn rejected(&self, reason: &str) {
        self.rejected.add(reason);
    }

    pub(super) fn code(&self, code: &str) {
        self.codes.add(code);
    }

    pub(super) fn fault(&self, kind: &str) {
        self.faults.add(kind);
    }

    pub(super) fn fetch(&self, image: &str) {
        self.fetches.add(image);
    }

    pub(super) fn fetches(&self, image: &str) -> u64 {
        self.fetches.0.lock().get(image).copied().unwrap_or(0)
    }

    pub(super) fn snapshot(&self, nonces: usize) -> Counts {
        let operations = Action::ALL.iter().zip(&self.operations);
        let operations = operations
            .map(|(action, count)| (action.as_str().to_owned(), count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0);
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            operations: operations.collect(),
            rejected: self.rejected.snapshot(),
            codes: self.codes.snapshot(),
            faults: self.faults.snapshot(),
            nonces: nonces as u64,
            fetches: self.fetches.snapshot(),
        }
    }
}

/// Counts by name. Names come from requests and scripts, so their number is bounded: beyond the bound, the
/// count of a new name goes to [`NamedCounts::OTHER`].
#[derive(Debug, Default)]
struct NamedCounts(Mutex<BTreeMap<String, u64>>);

impl NamedCounts {
    const CAPACITY: usize = 1_000_000;
    const OTHER: &str = "other";

    fn add(&self, name: &str) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(name) {
            *count += 1;
            return;
        }
        let name = if counts.len() < Self::CAPACITY {
            name
        } else {
            Self::OTHER
        };
        *counts.entry(name.to_owned()).or_default() += 1;
    }

    fn snapshot(&self) -> BTreeMap<String, u64> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tally_counts_new_names_together() {
        let tally = NamedCounts::default();
        let known = (0..NamedCounts::CAPACITY).map(|i| (format!("n{i}"), 1));
        tally.0.lock().extend(known);
        for name in ["new", "newer", "n7"] {
            tally.add(name);
        }
        let counts = tally.snapshot();
        assert_eq!((counts[NamedCounts::OTHER], counts["n7"]), (2, 2));
        assert!(!counts.contains_key("new"));
    }
}
