//! Redaction of recorded answers: a text stays only where it is known to be harmless. Pure.
//!
//! Every other text is replaced by its member's name and a number, the same for the same text in all answers, so that
//! relations between answers stay visible. The order of members is lost.

use std::collections::HashMap;

use http::HeaderMap;
use serde_json::{Map, Value};

/// Placeholders that were given out.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    placeholders: HashMap<String, String>,
    /// Number of placeholders by member.
    given: HashMap<String, usize>,
}

/// Members whose texts say nothing about an account.
const KEPT_TEXTS: [&str; 8] = [
    "Accessibility",
    "Code",
    "GmtCreateTime",
    "GmtModifiedTime",
    "NoPermissionType",
    "PolicyType",
    "AuthAction",
    "SourceType",
];
/// Members whose numbers do; any other number becomes 0.
const KEPT_NUMBERS: [&str; 2] = ["Size", "TotalCount"];
/// Headers whose values say nothing about an account.
const KEPT_HEADERS: [&str; 10] = [
    "age",
    "cache-control",
    "content-type",
    "date",
    "expires",
    "retry-after",
    "vary",
    "x-acs-retry-after",
    "x-ratelimit-user",
    "x-ratelimit-user-api",
];
/// Headers about the connection and the length of a body that is written anew.
const DROPPED_HEADERS: [&str; 4] = [
    "connection",
    "content-length",
    "keep-alive",
    "transfer-encoding",
];
/// Parameters of ListImages that select no one's images.
const KEPT_PARAMETERS: [&str; 5] = ["Order", "PageNumber", "PageSize", "SortBy", "Verbose"];
/// Beginning of the vendor's own labels.
const SYSTEM: &str = "system.";

impl Redactor {
    /// Redacts a body. One that is no JSON becomes null.
    pub(super) fn body(&mut self, body: &[u8]) -> Value {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        parsed.map_or(Value::Null, |value| self.value("", value))
    }

    /// Redacts headers; of a repeated one the last value stays.
    pub(super) fn headers(&mut self, headers: &HeaderMap) -> Map<String, Value> {
        let mut kept = Map::new();
        for (name, value) in headers {
            let name = name.as_str();
            if DROPPED_HEADERS.contains(&name) {
                continue;
            }
            let text = String::from_utf8_lossy(value.as_bytes());
            let text = if KEPT_HEADERS.contains(&name) {
                text.into_owned()
            } else {
                self.placeholder(name, &text)
            };
            kept.insert(name.to_owned(), text.into());
        }
        kept
    }

    /// Redacts the value of a query parameter.
    pub(super) fn parameter(&mut self, name: &str, value: &str) -> String {
        if KEPT_PARAMETERS.contains(&name) || value.starts_with(SYSTEM) {
            value.to_owned()
        } else {
            self.placeholder(name, value)
        }
    }

    /// Returns the placeholder of a text that a member with this name has; an empty text is its own.
    pub(super) fn placeholder(&mut self, member: &str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        if let Some(given) = self.placeholders.get(text) {
            return given.clone();
        }
        let number = self.given.entry(member.to_owned()).or_default();
        *number += 1;
        let placeholder = match member {
            "ImageId" => format!("image-{number}"),
            "ImageUri" => format!("registry.example/image:{number}"),
            member => format!("{member}-{number}"),
        };
        self.placeholders
            .insert(text.to_owned(), placeholder.clone());
        placeholder
    }

    fn value(&mut self, member: &str, value: Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value,
            Value::Number(_) if KEPT_NUMBERS.contains(&member) => value,
            Value::Number(_) => 0.into(),
            Value::String(text) if KEPT_TEXTS.contains(&member) => text.into(),
            Value::String(text) => self.placeholder(member, &text).into(),
            Value::Array(values) => {
                let values = values.into_iter();
                values.map(|value| self.value(member, value)).collect()
            }
            Value::Object(members) if is_system_label(&members) => Value::Object(members),
            Value::Object(members) => {
                let members = members.into_iter();
                let redacted = members.map(|(name, value)| {
                    let value = self.value(&name, value);
                    (name, value)
                });
                Value::Object(redacted.collect())
            }
        }
    }
}

/// Returns whether an object is a label of the vendor's own, key and value.
fn is_system_label(members: &Map<String, Value>) -> bool {
    let key = members.get("Key").and_then(Value::as_str);
    let names_only = members
        .iter()
        .all(|(name, value)| matches!(name.as_str(), "Key" | "Value") && value.is_string());
    names_only && key.is_some_and(|key| key.starts_with(SYSTEM))
}

#[cfg(test)]
mod tests;
