//! Difference between two sets of settings, and the part of it that a running gateway applies.

use serde_json::Value;

use super::Settings;

/// Sections and settings that a reload applies. The comments of config/gateway.toml mark each.
const LIVE: [&str; 2] = ["freshness.", "log.level"];

/// Keys that differ, such as `freshness.max`, sorted by section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that a reload applies at once: those of `[freshness]`, and `log.level`.
    pub live: Vec<String>,
    /// Keys that take effect at the next start only; they are logged.
    pub at_restart: Vec<String>,
}

impl Changes {
    /// Compares two sets of settings, value by value.
    #[must_use]
    pub fn between(old: &Settings, new: &Settings) -> Self {
        let value = |settings| serde_json::to_value(settings).unwrap_or_default();
        let mut changes = Self::default();
        changes.compare("", &value(old), &value(new));
        changes
    }

    fn compare(&mut self, key: &str, old: &Value, new: &Value) {
        if let (Value::Object(old), Value::Object(new)) = (old, new) {
            for (name, old) in old {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                self.compare(&key, old, new.get(name).unwrap_or(&Value::Null));
            }
        } else if old != new {
            let is_live = LIVE.iter().any(|live| key.starts_with(live));
            let keys = if is_live {
                &mut self.live
            } else {
                &mut self.at_restart
            };
            keys.push(key.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::HumanDuration;

    #[test]
    fn changed_settings_are_named_and_sorted_by_when_they_apply() {
        let old = Settings::default();
        let mut new = old.clone();
        assert_eq!(Changes::between(&old, &new), Changes::default());
        new.freshness.max = HumanDuration::secs(60);
        new.log.level = "debug".to_owned();
        new.listen.tls.cert_file = Some("c".to_owned());
        new.api.writes = true;
        let changes = Changes::between(&old, &new);
        assert_eq!(changes.live, ["freshness.max", "log.level"]);
        assert_eq!(changes.at_restart, ["api.writes", "listen.tls.cert_file"]);
    }
}
