//! Positions in the invalidation log that decide whether a value of the shared cache may be used.

use std::collections::HashMap;

use super::log::{Invalidation, LogEvent, StreamId};
use crate::cache::PurgeTarget;

/// Positions in the log that a stored value is compared with.
///
/// A value carries the position of the log at which its fetch began. It is used only if no invalidation of
/// its workspace or of everything stands after that position. The invalidation of one image needs no
/// position, because it deletes the image's values.
#[derive(Debug, Default)]
pub(super) struct Watermarks {
    /// Last record whose purges are done in memory; `None` until the first page has been read.
    pub(super) applied: Option<StreamId>,
    /// Last record that this replica appended. Its purge is done in memory although the record has not
    /// come back yet.
    pub(super) appended: StreamId,
    /// Last record that invalidates everything; invalidations before it are not known one by one.
    flushed_all: StreamId,
    workspaces: HashMap<String, StreamId>,
}

/// Bound on the workspaces that are remembered one by one: about 100 bytes each.
const MAX_WORKSPACES: usize = 1000;

impl Watermarks {
    /// Refuses every value whose fetch began before `at`.
    pub(super) fn flush_all(&mut self, at: StreamId) {
        self.flushed_all = self.flushed_all.max(at);
    }

    /// Refuses the values that the record at `at` invalidates.
    pub(super) fn record(&mut self, at: StreamId, event: &LogEvent) {
        let target = match event {
            LogEvent::Invalidate(Invalidation { target, .. }) => target,
            LogEvent::Walk(_) => return,
            // A value in the server may be from before the log was lost.
            LogEvent::LogStart => return self.flush_all(at),
        };
        match target {
            PurgeTarget::All => self.flush_all(at),
            PurgeTarget::Workspace(id) => {
                if self.workspaces.len() >= MAX_WORKSPACES && !self.workspaces.contains_key(id) {
                    // Counts as a flush of everything: too much is fetched again, never too little.
                    self.workspaces.clear();
                    self.flush_all(at);
                }
                let last = self.workspaces.entry(id.clone()).or_default();
                *last = at.max(*last);
            }
            PurgeTarget::Image(_) | PurgeTarget::Lists => {}
        }
    }

    /// Drops the positions in a log that was lost. The flushes stay: values from before them may be stored still.
    pub(super) fn reset(&mut self) {
        self.applied = None;
        self.appended = StreamId::default();
    }

    /// Returns the position that a fetch beginning now is stored with; `None` until a page has been read.
    pub(super) fn current(&self) -> Option<StreamId> {
        self.applied.map(|applied| applied.max(self.appended))
    }

    /// Returns whether a value may be used whose fetch began when the log stood at `at`.
    pub(super) fn admits(&self, at: StreamId, workspace: Option<&str>) -> bool {
        let flushed = workspace.and_then(|id| self.workspaces.get(id));
        at >= self.flushed_all && flushed.is_none_or(|flushed| at >= *flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::PurgeMode;

    const fn at(milliseconds: u64) -> StreamId {
        StreamId {
            milliseconds,
            sequence: 0,
        }
    }

    fn invalidate(target: PurgeTarget) -> LogEvent {
        let mode = PurgeMode::Hard;
        LogEvent::Invalidate(Invalidation { target, mode })
    }

    fn workspace(id: &str) -> LogEvent {
        invalidate(PurgeTarget::Workspace(id.to_owned()))
    }

    #[test]
    fn a_value_from_before_an_invalidation_is_refused() {
        let mut watermarks = Watermarks::default();
        watermarks.flush_all(at(10));
        watermarks.record(at(20), &workspace("a"));
        assert!(!watermarks.admits(at(9), None));
        assert!(watermarks.admits(at(15), Some("b")) && !watermarks.admits(at(15), Some("a")));
        assert!(watermarks.admits(at(20), Some("a")));
        watermarks.record(at(30), &invalidate(PurgeTarget::All));
        assert!(!watermarks.admits(at(29), Some("b")) && watermarks.admits(at(30), Some("b")));
    }

    #[test]
    fn too_many_workspaces_count_as_all_of_them() {
        let mut watermarks = Watermarks::default();
        for number in 0..=MAX_WORKSPACES as u64 {
            watermarks.record(at(number), &workspace(&number.to_string()));
        }
        assert!(!watermarks.admits(at(999), Some("0")));
        assert!(watermarks.admits(at(1000), Some("0")));
    }
}
