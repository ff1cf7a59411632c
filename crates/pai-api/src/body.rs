//! Fields that the gateway reads from the origin's response bodies. Bodies themselves pass through byte for byte.
//!
//! Reading is as lenient as the vendor's SDK about a field that it carries, and strict about a field that decides who
//! may see an image: a lone surrogate, a number out of range or deep nesting makes the one field absent, never the
//! whole answer unreadable.

use std::borrow::Cow;
use std::fmt;

use compact_str::CompactString;
use jiff::Timestamp;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Fields that decisions are made on. One that is missing, null, of a wrong type or given twice is `None`: two
/// parsers could read it differently, so it is not evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFields {
    /// `GmtModifiedTime`, as text; [`parse_timestamp`] reads it.
    pub modified: Option<String>,
    /// `GmtCreateTime`, as text.
    pub created: Option<String>,
    /// `ImageUri`.
    pub uri: Option<String>,
    /// `ImageId`; the documented answer has none.
    pub image: Option<String>,
    /// Fields that authorization compares with a client's grant.
    pub ownership: Ownership,
    /// Fields that the object has, whatever their type.
    pub present: PresentFields,
}

/// Fields of an image that decide about access to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    /// `Accessibility`; `None` for a value that is neither.
    pub accessibility: Option<Accessibility>,
    /// `WorkspaceId`; official images have none.
    pub workspace: Option<CompactString>,
    /// `UserId`.
    pub user: Option<CompactString>,
}

/// Visibility of an image to users other than its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accessibility {
    /// Visible to the whole workspace; an official image, which has no workspace, to everyone.
    Public,
    /// Visible to no other user.
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

/// Set of the known fields that an object has and that are not null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PresentFields(u32);

impl PresentFields {
    /// Returns whether the object is an image: it has at least one of GetImage's own fields. Beside a `Code`, `ImageId`
    /// and `Description` do not count, because an error may name the image and describe itself.
    #[must_use]
    pub const fn is_image(self) -> bool {
        let own = if self.has_code() {
            IMAGE_BESIDE_CODE
        } else {
            IMAGE
        };
        self.0 & own != 0
    }

    /// Returns whether the object is a page of ListImages.
    #[must_use]
    pub const fn is_page_of_images(self) -> bool {
        self.0 & (IMAGES | TOTAL_COUNT) != 0
    }

    /// Returns whether the object is a page of ListImageLabels.
    #[must_use]
    pub const fn is_page_of_labels(self) -> bool {
        self.0 & (LABELS | TOTAL_COUNT) != 0
    }

    const fn has_code(self) -> bool {
        self.0 & CODE != 0
    }
}

/// Body that is not one complete JSON object in UTF-8.
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

/// Returns the text of a JSON string; `None` for another type, and for a string that is no Unicode text.
pub(super) fn string_text(json: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = json.get();
    let plain = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if plain.contains('\\') {
        serde_json::from_str(quoted).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(plain))
    }
}

/// Known fields in the order of their bits. The first [`TEXT_FIELDS`] are read as text; of the others only the
/// presence is recorded.
const NAMES: [&str; 19] = [
    "GmtModifiedTime",
    "GmtCreateTime",
    "ImageUri",
    "ImageId",
    "Accessibility",
    "WorkspaceId",
    "UserId",
    "Description",
    "Name",
    "ParentUserId",
    "Size",
    "SourceId",
    "SourceType",
    "Labels",
    "Images",
    "TotalCount",
    "Code",
    "code",
    "Identity",
];
const TEXT_FIELDS: usize = 7;

const IMAGE_ID: u32 = 1 << 3;
const DESCRIPTION: u32 = 1 << 7;
const LABELS: u32 = 1 << 13;
const IMAGES: u32 = 1 << 14;
const TOTAL_COUNT: u32 = 1 << 15;
const CODE: u32 = 0b11 << 16;
const IDENTITY: u32 = 1 << 18;
/// GetImage's own fields.
const IMAGE: u32 = (IMAGES - 1) | IDENTITY;
/// Fields of GetImage that no error response contains.
const IMAGE_BESIDE_CODE: u32 = IMAGE & !(IMAGE_ID | DESCRIPTION);

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = ImageFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ImageFields, A::Error> {
        let mut found: [Option<Option<String>>; TEXT_FIELDS] = Default::default();
        let mut present = PresentFields::default();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let name = string_text(name);
            let Some(slot) = NAMES
                .iter()
                .position(|known| name.as_deref() == Some(known))
            else {
                continue;
            };
            let is_empty_code = CODE & 1 << slot != 0 && value.get() == "\"\"";
            if value.get() != "null" && !is_empty_code {
                present.0 |= 1 << slot;
            }
            if let Some(seen) = found.get_mut(slot) {
                let text = string_text(value).map(Cow::into_owned);
                *seen = Some(if seen.is_some() { None } else { text });
            }
        }
        let [
            modified,
            created,
            uri,
            image,
            accessibility,
            workspace,
            user,
        ] = found.map(Option::flatten);
        Ok(ImageFields {
            modified,
            created,
            uri,
            image,
            ownership: Ownership {
                accessibility: accessibility.as_deref().and_then(Accessibility::parse),
                workspace: workspace.map(CompactString::from),
                user: user.map(CompactString::from),
            },
            present,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> ImageFields {
        ImageFields::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn the_documented_example_is_read() {
        let fields = ImageFields::parse(include_bytes!(
            "../../../tests/vectors/getimage_example.json"
        ))
        .unwrap();
        assert_eq!(fields.ownership.workspace.as_deref(), Some("15945"));
        assert_eq!(fields.modified.as_deref(), Some("2021-01-21T17:12:35.232Z"));
        assert_eq!(
            parse_timestamp(&fields.modified.unwrap())
                .unwrap()
                .as_millisecond(),
            1_611_249_155_232
        );
        assert!(fields.present.is_image());
    }

    #[test]
    fn doubtful_fields_count_as_absent() {
        let fields = parse(
            r#"{"WorkspaceId":"1","WorkspaceId":"2","ImageUri":3,"GmtCreateTime":null,"UserId":7,
                "Accessibility":"PUBLIC","Accessibility":"PUBLIC","ImageId":["a"]}"#,
        );
        let present = fields.present;
        assert_eq!(
            fields,
            ImageFields {
                present,
                ..ImageFields::default()
            }
        );
    }

    /// Python's and Node's JSON read each of these objects.
    #[test]
    fn a_field_that_cannot_be_read_does_not_spoil_the_object() {
        let deep = "[".repeat(500) + &"]".repeat(500);
        for odd in [r#""\ud800""#, r#""a\udc00b""#, "1e999", "-1e999", &deep] {
            for name in ["UserId", "GmtModifiedTime", "Description", r"\ud800"] {
                let body = format!(r#"{{"{name}":{odd},"WorkspaceId":"1","ImageUri":"u"}}"#);
                let fields = parse(&body);
                assert_eq!(fields.ownership.workspace.as_deref(), Some("1"), "{body}");
                assert_eq!((fields.ownership.user, fields.modified), (None, None));
                assert!(fields.present.is_image());
            }
        }
        // An escaped name is the same name, for the SDK and for the policy.
        let escaped = parse(r#"{"Workspace\u0049d":"1","UserId":"\u0061"}"#);
        assert_eq!(escaped.ownership.workspace.as_deref(), Some("1"));
        assert_eq!(escaped.ownership.user.as_deref(), Some("a"));
    }

    #[test]
    fn an_image_has_at_least_one_field_of_its_own() {
        for (body, expected) in [
            ("{}", false),
            (r#"{"RequestId":"R"}"#, false),
            (r#"{"RequestId":"R","Name":null,"ImageUri":null}"#, false),
            (r#"{"status":"UP"}"#, false),
            (r#"{"Code":"InternalError","Message":"m"}"#, false),
            (r#"{"code":"503","message":"m","success":false}"#, false),
            (
                r#"{"Code":"X","Message":"m","ImageId":"i","Description":"d"}"#,
                false,
            ),
            (r#"{"Name":"n"}"#, true),
            (r#"{"ImageId":"i"}"#, true),
            (r#"{"Labels":[]}"#, true),
            (r#"{"Size":0}"#, true),
            (r#"{"Code":"X","ImageUri":"u"}"#, true),
            (r#"{"Code":null,"ImageId":"i"}"#, true),
            (r#"{"code":"","ImageId":"i"}"#, true),
        ] {
            assert_eq!(parse(body).present.is_image(), expected, "{body}");
        }
        assert!(parse(r#"{"Images":[]}"#).present.is_page_of_images());
        assert!(!parse(r#"{"Code":"X"}"#).present.is_page_of_images());
        assert!(parse(r#"{"TotalCount":0}"#).present.is_page_of_labels());
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
