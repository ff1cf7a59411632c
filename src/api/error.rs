//! The error shape SDKs turn into typed exceptions.

use serde::{Deserialize, Serialize};

/// An error answer: always one JSON object with these four fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorBody<'a> {
    /// Names the answer; for the origin's own errors, the origin's id.
    pub request_id: &'a str,
    /// The Host the client asked.
    pub host_id: &'a str,
    /// Machine-readable; see the README's table.
    pub code: &'a str,
    /// For a person.
    pub message: &'a str,
}

impl ErrorBody<'_> {
    /// The body's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("four strings always serialize")
    }
}

/// What the origin said was wrong, less what must not leave: its HostId, `Recommend` and
/// `AccessDeniedDetail` (which names the central account) are never read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct OriginError {
    /// The HTTP status it came with.
    #[serde(skip)]
    pub status: u16,
    /// Empty when the origin gave none.
    #[serde(alias = "code")]
    pub code: String,
    /// Empty when the origin gave none.
    #[serde(alias = "message")]
    pub message: String,
    /// Empty when the origin gave none.
    #[serde(alias = "requestId")]
    pub request_id: String,
}

impl OriginError {
    /// Reads an error answer. A body that is no JSON object gives empty fields: the status still counts.
    #[must_use]
    pub fn parse(status: u16, body: &[u8]) -> Self {
        Self {
            status,
            ..serde_json::from_slice(body).unwrap_or_default()
        }
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
}
