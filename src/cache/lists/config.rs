//! The `[lists]` settings.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::Freshness;
use crate::units::{ByteSize, HumanDuration};

/// The `[lists]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Time that a list is fresh; zero stores no list, and identical requests still share one call.
    pub ttl: HumanDuration,
    /// Time after `ttl` that a stale list is served while it is fetched again.
    pub stale_while_revalidate: HumanDuration,
    /// Time after `ttl` that a stale list is served while the origin fails.
    pub stale_if_error: HumanDuration,
    /// Bytes of memory for lists.
    pub max_bytes: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // A new image shows in a list within the time that its upload took.
            ttl: HumanDuration::secs(15),
            stale_while_revalidate: HumanDuration::secs(15),
            // As an image's.
            stale_if_error: HumanDuration::secs(24 * 3600),
            // A page of 50 images with labels takes some 50 KiB.
            max_bytes: ByteSize(32 << 20),
        }
    }
}

impl Config {
    /// Returns the freshness of a list of this age and ttl.
    pub(super) fn judge(&self, age: Duration, ttl: Duration) -> Freshness {
        let stale = age.saturating_sub(ttl);
        if age < ttl {
            Freshness::Fresh
        } else if stale < self.stale_while_revalidate.0 {
            Freshness::StaleWhileRevalidate
        } else if stale < self.stale_if_error.0 {
            Freshness::StaleIfError
        } else {
            Freshness::Expired
        }
    }
}
