//! A page of ListImages, as far as the gateway reads it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::body::string_text;

/// Members that the API documents of an image, GetImage's and those of an item of ListImages together. Another member
/// passes through, and is compared under the name `other`.
pub const IMAGE_MEMBERS: [&str; 16] = [
    "Accessibility",
    "Description",
    "GmtCreateTime",
    "GmtModifiedTime",
    "Identity",
    "ImageId",
    "ImageUri",
    "Labels",
    "Name",
    "ParentUserId",
    "Signature",
    "Size",
    "SourceId",
    "SourceType",
    "UserId",
    "WorkspaceId",
];

const IMAGES: &str = "Images";
const TOTAL_COUNT: &str = "TotalCount";
const REQUEST_ID: &str = "RequestId";

/// A page of ListImages: one object with one list of images, each as the bytes that came.
#[derive(Debug, Clone)]
pub struct ImagePage<'a> {
    /// The items in the order of the page.
    pub images: Vec<&'a RawValue>,
    /// `TotalCount`; `None` if it is missing, no whole number, or given twice.
    pub total: Option<u64>,
    /// `RequestId`; `None` if it is missing, no text, or given twice.
    pub request_id: Option<String>,
}

impl<'a> ImagePage<'a> {
    /// Members that the API documents of a page, each of which the gateway reads.
    pub const MEMBERS: [&'static str; 3] = [IMAGES, TOTAL_COUNT, REQUEST_ID];

    /// Parses a body; `None` unless it is one complete object with one list `Images`, which all parsers would read
    /// alike.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let page = json.deserialize_map(PageVisitor).ok()?;
        json.end().ok()?;
        page
    }
}

struct PageVisitor;

impl<'de> Visitor<'de> for PageVisitor {
    type Value = Option<ImagePage<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut images, mut totals, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match &*name {
                IMAGES => images.push(map.next_value()?),
                TOTAL_COUNT => totals.push(map.next_value::<&RawValue>()?),
                REQUEST_ID => ids.push(map.next_value::<&RawValue>()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let Ok([images]) = <[_; 1]>::try_from(images) else {
            return Ok(None);
        };
        let only = |values: &[&'de RawValue]| match values {
            [value] => Some(*value),
            _ => None,
        };
        Ok(Some(ImagePage {
            images,
            total: only(&totals).and_then(|total| total.get().parse().ok()),
            request_id: only(&ids).and_then(string_text).map(Cow::into_owned),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_items_byte_for_byte() {
        let body = br#"{"TotalCount": 7, "Images": [{"ImageId":"a" }, 1], "RequestId":"R-\u0031", "New": {}}"#;
        let page = ImagePage::parse(body).unwrap();
        let items: Vec<_> = page.images.iter().map(|item| item.get()).collect();
        assert_eq!(items, [r#"{"ImageId":"a" }"#, "1"]);
        assert_eq!(
            (page.total, page.request_id.as_deref()),
            (Some(7), Some("R-1"))
        );
    }

    #[test]
    fn what_is_missing_ambiguous_or_of_a_wrong_type_is_absent() {
        for body in [
            r#"{"Images":[]}"#,
            r#"{"Images":[],"TotalCount":"7","RequestId":7}"#,
            r#"{"Images":[],"TotalCount":-1,"RequestId":null}"#,
            r#"{"Images":[],"TotalCount":1,"TotalCount":2,"RequestId":"a","RequestId":"b"}"#,
        ] {
            let page = ImagePage::parse(body.as_bytes()).unwrap();
            assert_eq!((page.total, page.request_id), (None, None), "{body}");
        }
    }

    #[test]
    fn an_ambiguous_document_is_no_page() {
        for body in [
            "[]",
            "{}",
            r#"{"Images":[],"TotalCount":0,"Images":[]}"#,
            r#"{"Images":{}}"#,
            r#"{"Images":null}"#,
            r#"{"Images":[]}x"#,
        ] {
            assert!(ImagePage::parse(body.as_bytes()).is_none(), "{body}");
        }
    }
}
