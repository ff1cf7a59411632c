//! The `[cache]` settings.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::snapshot::folder;
use crate::units::{ByteSize, HumanDuration};

/// The `[cache]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes of memory for cached images, bodies and bookkeeping.
    pub max_bytes: ByteSize,
    /// Number of negative answers (not found, forbidden) that are kept.
    pub max_negative: u64,
    /// File that cached images are saved to, for the next start.
    pub snapshot: Option<String>,
    /// Time between snapshots, if anything has changed.
    pub snapshot_interval: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: ByteSize(256 << 20),
            max_negative: 10_000,
            // It needs a folder of this process alone that outlives it, which has no safe default.
            snapshot: None,
            snapshot_interval: HumanDuration::secs(60),
        }
    }
}

impl Config {
    /// Returns whether `snapshot`, if set, names a file in an existing folder.
    #[must_use]
    pub fn snapshot_has_a_place(&self) -> bool {
        let has_a_place =
            |path: &Path| path.file_name().is_some() && !path.is_dir() && folder(path).is_dir();
        self.snapshot
            .as_deref()
            .map(Path::new)
            .is_none_or(has_a_place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_needs_a_folder_that_is_there() {
        let place = tempfile::tempdir().unwrap();
        let named = |name: &str| Config {
            snapshot: Some(place.path().join(name).to_str().unwrap().to_owned()),
            ..Config::default()
        };
        assert!(Config::default().snapshot_has_a_place());
        assert!(named("s").snapshot_has_a_place());
        for bad in ["", "none/s", ".."] {
            assert!(!named(bad).snapshot_has_a_place(), "{bad}");
        }
        let empty = Config {
            snapshot: Some(String::new()),
            ..Config::default()
        };
        assert!(!empty.snapshot_has_a_place());
    }
}
