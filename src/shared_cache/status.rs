//! The `shared_cache` object of `/status`.

use serde_json::{Map, Value, json};

use super::SharedCache;

impl SharedCache {
    /// How the tier is, and what was asked of it, for a person or a script.
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
            "unheard_orders": self.invalidation.lock().pending(),
            "requests": requests,
        })
    }
}
