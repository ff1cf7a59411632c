//! The `[api]` settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, HumanDuration};

/// The `[api]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Passes AddImage, AddImageLabels, RemoveImageLabels, PublishImage and RemoveImage on.
    pub writes: bool,
    /// Time that a request waits for a fetch. Node's SDK gives up after 3 s.
    pub wait: HumanDuration,
    /// Time that a request waits for a fetch where a stale image could answer it.
    pub wait_with_stale: HumanDuration,
    /// Longest body read from a client.
    pub max_body: ByteSize,
    /// Time for a client's whole body to arrive.
    pub body_timeout: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            writes: false,
            wait: HumanDuration::millis(2500),
            wait_with_stale: HumanDuration::secs(1),
            max_body: ByteSize(1 << 20),
            body_timeout: HumanDuration::secs(10),
        }
    }
}
