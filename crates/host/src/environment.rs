//! Environment variables as a value.

use std::collections::BTreeMap;

/// Environment variables as they were when the process started. Parts receive them as a value, so that tests never
/// change the process's own.
pub type Environment = BTreeMap<String, String>;
