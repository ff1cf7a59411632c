//! The JSON error envelope of the API, from which SDKs make typed exceptions.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::body::string_text;

/// Error envelope to write: one JSON object with exactly these four fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorBody<'a> {
    /// Id of the request; for an error of the origin, the origin's id.
    pub request_id: &'a str,
    /// `Host` that the client called.
    pub host_id: &'a str,
    /// Machine-readable error code, `ImageNotFound` for instance.
    pub code: &'a str,
    /// Explanation for a person.
    pub message: &'a str,
}

impl ErrorBody<'_> {
    /// Serializes the envelope.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("four strings always serialize")
    }
}

/// Error envelope of the origin. `HostId`, `Recommend` and `AccessDeniedDetail` are never read, because they would
/// reveal the origin's host and the gateway's own account to clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OriginError {
    /// HTTP status of the response.
    pub status: u16,
    /// Error code; empty without a readable one of at most 256 bytes.
    pub code: String,
    /// Message, cut to 8 KiB; empty without one.
    pub message: String,
    /// Request id; empty without a readable one of at most 256 bytes.
    pub request_id: String,
}

/// Longest Code and RequestId that are read, in bytes; a longer one counts as absent.
const MAX_TOKEN: usize = 256;
/// Longest Message that is kept, in bytes; the rest of a longer one is cut off.
const MAX_MESSAGE: usize = 8192;

impl OriginError {
    /// Reads an error envelope: each field independently, in PascalCase or camelCase, as text or as a number. A body
    /// that is not one JSON object gives empty fields, since the status alone still decides.
    #[must_use]
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let [code, message, request_id] = std::str::from_utf8(body)
            .ok()
            .and_then(fields_of)
            .unwrap_or_default();
        let word = |text: String| {
            let word = text.trim();
            if word.len() > MAX_TOKEN {
                String::new()
            } else {
                word.to_owned()
            }
        };
        let (code, request_id) = (word(code), word(request_id));
        Self {
            status,
            code,
            message: truncate(message),
            request_id,
        }
    }
}

/// Truncates a text to at most 8 KiB, at a character boundary.
fn truncate(mut text: String) -> String {
    let most = text.len().min(MAX_MESSAGE);
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

/// Both spellings of each field; the first non-empty value wins.
const SPELLINGS: [[&str; 2]; 3] = [
    ["Code", "code"],
    ["Message", "message"],
    ["RequestId", "requestId"],
];

fn fields_of(body: &str) -> Option<[String; 3]> {
    let mut json = serde_json::Deserializer::from_str(body);
    let fields = json.deserialize_map(ErrorVisitor).ok()?;
    json.end().ok()?;
    Some(fields.map(|[first, second]| if first.is_empty() { second } else { first }))
}

/// Returns a string's text, or a number as it is written; empty for anything else, and for what is out of range.
fn text_or_number(json: &RawValue) -> String {
    if let Some(text) = string_text(json) {
        return text.into_owned();
    }
    let is_number = serde_json::from_str::<serde_json::Number>(json.get()).is_ok();
    let number = is_number.then(|| json.get().to_owned());
    number.unwrap_or_default()
}

struct ErrorVisitor;

impl<'de> Visitor<'de> for ErrorVisitor {
    type Value = [[String; 2]; 3];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Self::Value::default();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let Some(name) = string_text(name) else {
                continue;
            };
            let slots = found.iter_mut().flatten();
            let named = SPELLINGS.iter().flatten().zip(slots);
            for (_, slot) in named.filter(|(known, slot)| **known == name && slot.is_empty()) {
                *slot = text_or_number(value);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_error_is_read_in_both_spellings() {
        let body = br#"{"requestId":"R","Message":"m","Recommend":"https://x","HostId":"secret","code":"C"}"#;
        let error = OriginError::parse(404, body);
        assert_eq!(
            (
                error.code.as_str(),
                error.message.as_str(),
                error.request_id.as_str()
            ),
            ("C", "m", "R")
        );
        assert_eq!(
            OriginError::parse(502, b"<html>"),
            OriginError {
                status: 502,
                ..OriginError::default()
            }
        );
    }

    #[test]
    fn each_field_is_read_by_itself() {
        let deep = "[".repeat(500) + &"]".repeat(500);
        for (body, code, message) in [
            (r#"{"Code":503,"Message":"m"}"#, "503", "m"),
            (r#"{"code":1.5,"message":"m"}"#, "1.5", "m"),
            (r#"{"Code":"C","Message":null}"#, "C", ""),
            (r#"{"Code":"C","Message":{"a":1}}"#, "C", ""),
            (r#"{"Code":true,"Message":"m"}"#, "", "m"),
            (r#"{"Code":"","code":"c","Message":"m"}"#, "c", "m"),
            (r#"{"code":"c","Code":"C"}"#, "C", ""),
            (r#"{"Code":null,"code":"c"}"#, "c", ""),
            (r#"{"Code":"C","Message":"\ud800"}"#, "C", ""),
            (r#"{"Code":"\udfff","Message":"m"}"#, "", "m"),
            (r#"{"Code":1e999,"Message":"m"}"#, "", "m"),
            (r#"{"Code":"C","Message":1e999}"#, "C", ""),
            (r#"{"\ud800":1,"Code":" C "}"#, "C", ""),
            (&format!(r#"{{"Detail":{deep},"Code":"C"}}"#), "C", ""),
            (&format!(r#"{{"Message":{deep},"Code":"C"}}"#), "C", ""),
            (r#"{"Code":"C"} {"#, "", ""),
            (r#"["Code","C"]"#, "", ""),
        ] {
            let error = OriginError::parse(400, body.as_bytes());
            assert_eq!((&*error.code, &*error.message), (code, message), "{body}");
        }
    }

    #[test]
    fn the_stored_part_of_an_error_is_bounded() {
        let long = "\u{e9}".repeat(1 << 20);
        let body = format!(r#"{{"Code":"{long}","Message":"{long}","RequestId":"{long}"}}"#);
        let error = OriginError::parse(500, body.as_bytes());
        assert_eq!((&*error.code, &*error.request_id), ("", ""));
        assert_eq!(error.message.len(), MAX_MESSAGE);
    }
}
