//! The `shared_cache` object of `/status`.

use serde_json::{Map, Value, json};

use super::SharedCache;

impl SharedCache {
    /// Returns the state of the connection and the breaker, the number of replicas that were last seen, the
    /// invalidations that wait, and the counts of commands by result.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut requests = Map::new();
        for (operation, result, count) in self.metrics.shared.requests() {
            let of = requests
                .entry(operation.as_str())
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(of) = of {
                of.insert(result.as_str().to_owned(), count.into());
            }
        }
        json!({
            "up": self.commands.is_connected(),
            "breaker": self.commands.state().as_str(),
            "replicas": self.pace.replicas(),
            "unheard_orders": self.invalidation.lock().pending(),
            "requests": requests,
        })
    }
}
