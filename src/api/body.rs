//! What the gateway reads out of a GetImage answer. It never writes one: bodies go out byte for byte.

use std::borrow::Cow;
use std::fmt;

use compact_str::CompactString;
use jiff::Timestamp;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// The fields decisions are made on. One that is missing, null, of a wrong type or given twice is
/// `None`: what two parsers could read differently is not evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFields {
    /// `GmtModifiedTime`, as text; [`parse_timestamp`] reads it.
    pub modified: Option<String>,
    /// `GmtCreateTime`, as text.
    pub created: Option<String>,
    /// `ImageUri`.
    pub uri: Option<String>,
    /// Whose it is.
    pub ownership: Ownership,
}

/// Whose an image is: what decides who may see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    /// `Accessibility`; `None` for a value that is neither.
    pub accessibility: Option<Accessibility>,
    /// `WorkspaceId`; official images have none.
    pub workspace: Option<CompactString>,
    /// `UserId`.
    pub user: Option<CompactString>,
}

/// Who beside its maker may see an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accessibility {
    /// Its workspace; everybody, for an official image.
    Public,
    /// Nobody.
    Private,
}

impl Accessibility {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "PUBLIC" => Some(Self::Public),
            "PRIVATE" => Some(Self::Private),
            _ => None,
        }
    }
}

/// A body that is not one complete JSON object in UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not one complete JSON object")]
pub struct NotAnObject;

impl ImageFields {
    /// Reads the fields of one complete JSON object.
    ///
    /// # Errors
    /// [`NotAnObject`] for anything else: arrays, null, text, invalid UTF-8, a cut or trailing byte.
    pub fn parse(body: &[u8]) -> Result<Self, NotAnObject> {
        let text = std::str::from_utf8(body).map_err(|_| NotAnObject)?;
        let mut json = serde_json::Deserializer::from_str(text);
        let fields = json
            .deserialize_map(FieldsVisitor)
            .map_err(|_| NotAnObject)?;
        json.end().map_err(|_| NotAnObject)?;
        Ok(fields)
    }
}

/// Reads the API's time form, `2021-01-21T17:12:35.232Z`.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok()
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = ImageFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ImageFields, A::Error> {
        const NAMES: [&str; 6] = [
            "GmtModifiedTime",
            "GmtCreateTime",
            "ImageUri",
            "Accessibility",
            "WorkspaceId",
            "UserId",
        ];
        let mut found: [Option<Option<String>>; 6] = Default::default();
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            let Some(slot) = NAMES.iter().position(|known| *known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let text = match map.next_value::<Value>()? {
                Value::String(text) => Some(text),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => None,
            };
            let seen = found
                .get_mut(slot)
                .ok_or_else(|| A::Error::custom("no such field"))?;
            *seen = Some(if seen.is_some() { None } else { text });
        }
        let [modified, created, uri, accessibility, workspace, user] = found.map(Option::flatten);
        Ok(ImageFields {
            modified,
            created,
            uri,
            ownership: Ownership {
                accessibility: accessibility.as_deref().and_then(Accessibility::parse),
                workspace: workspace.map(CompactString::from),
                user: user.map(CompactString::from),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_is_read() {
        let fields =
            ImageFields::parse(include_bytes!("../../tests/vectors/getimage_example.json"))
                .unwrap();
        assert_eq!(fields.ownership.workspace.as_deref(), Some("15945"));
        assert_eq!(fields.modified.as_deref(), Some("2021-01-21T17:12:35.232Z"));
        assert_eq!(
            parse_timestamp(&fields.modified.unwrap())
                .unwrap()
                .as_millisecond(),
            1_611_249_155_232
        );
    }

    #[test]
    fn doubtful_fields_count_as_absent() {
        let fields = ImageFields::parse(
            br#"{"WorkspaceId":"1","WorkspaceId":"2","ImageUri":3,"GmtCreateTime":null,"UserId":7,
                "Accessibility":"PUBLIC","Accessibility":"PUBLIC"}"#,
        )
        .unwrap();
        assert_eq!(fields, ImageFields::default());
    }

    #[test]
    fn only_one_complete_object_is_an_image() {
        for bad in [
            &b""[..],
            b"null",
            b"[]",
            b"{",
            b"{}x",
            b"{} {}",
            b"\"a\"",
            b"{\"a\":\"\xff\"}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":1",
        ] {
            assert_eq!(ImageFields::parse(bad), Err(NotAnObject), "{bad:?}");
        }
        assert!(ImageFields::parse(b" {} \n").is_ok());
    }
}
