//! The object `stale_until`: how long stale answers last.

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::Admin;

impl Admin {
    /// Returns the times until which cached images stand in for an origin that fails; null if none would. `time` is the
    /// wall-clock time of `now`.
    pub(super) fn stale_until(&self, now: Instant, time: Timestamp) -> Value {
        let Some(window) = self.cache.stale_window(now) else {
            return Value::Null;
        };
        let end = |left| time.checked_add(left).ok().map(|end| end.to_string());
        json!({ "images": window.images, "oldest": end(window.oldest), "newest": end(window.newest) })
    }
}
