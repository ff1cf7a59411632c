//! What a client may see of a page of ListImages.
//!
//! A page goes out untouched to who may see everything that the search can find. A search that fits on
//! one page goes out without what may not be seen, its TotalCount lowered to match. Any other would
//! count images on pages that cannot be judged here, so it is refused: a page that lies about how many
//! there are breaks whoever pages through it.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::api::{ImageFields, Query};
use crate::auth::Grant;
use crate::response::Error;
use crate::upstream::UpstreamError;

const WHOLE_WORKSPACE: &str = "this page may count images that this client may not see: ask with Accessibility=PUBLIC \
     and a WorkspaceId, or for a page that holds all there are";

/// The page as it may be shown.
///
/// # Errors
/// [`Error::Forbidden`] where no truthful page can be made.
pub(super) fn reveal(body: Bytes, grant: &Grant, query: &Query) -> Result<Bytes, Error> {
    let page = Page::parse(&body).ok_or(UpstreamError::Unreadable)?;
    let seen: Vec<&RawValue> = page
        .images
        .iter()
        .copied()
        .filter(|image| is_seen(image, grant))
        .collect();
    let all = seen.len() == page.images.len();
    if all && grant.sees_all_of(query) {
        return Ok(body);
    }
    let first = query
        .pairs()
        .all(|(name, value)| name != "PageNumber" || matches!(value, "" | "1"));
    if !first || page.total != page.images.len() {
        return Err(Error::Forbidden(WHOLE_WORKSPACE));
    }
    if all {
        return Ok(body);
    }
    Ok(page.with(&seen).into())
}

fn is_seen(image: &RawValue, grant: &Grant) -> bool {
    ImageFields::parse(image.get().as_bytes()).is_ok_and(|fields| grant.shows(&fields.ownership))
}

/// A page's fields in their order, as they were written.
struct Page<'a> {
    fields: Vec<(String, &'a RawValue)>,
    images: Vec<&'a RawValue>,
    total: usize,
}

const IMAGES: &str = "Images";
const TOTAL: &str = "TotalCount";

impl<'a> Page<'a> {
    /// `None` for what is no page, or one that two parsers could read differently.
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let fields = json.deserialize_map(Fields).ok()?;
        json.end().ok()?;
        let one = |wanted: &str| {
            let mut found = fields.iter().filter(|(name, _)| name == wanted);
            found.next().filter(|_| found.next().is_none())
        };
        let images = serde_json::from_str(one(IMAGES)?.1.get()).ok()?;
        let total = serde_json::from_str(one(TOTAL)?.1.get()).ok()?;
        Some(Self {
            fields,
            images,
            total,
        })
    }

    /// The page with these images alone.
    fn with(&self, images: &[&RawValue]) -> String {
        let images: Vec<&str> = images.iter().map(|image| image.get()).collect();
        let fields = self.fields.iter().map(|(name, value)| {
            let name_text = serde_json::Value::from(name.as_str());
            match name.as_str() {
                IMAGES => format!("{name_text}:[{}]", images.join(",")),
                TOTAL => format!("{name_text}:{}", images.len()),
                _ => format!("{name_text}:{}", value.get()),
            }
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::Scope;

    const PAGE: &str = r#"{"RequestId":"R","TotalCount":2,"Images":[{"WorkspaceId":"1","Accessibility":"PUBLIC","Size":18446744073709551615},{"WorkspaceId":"1","Accessibility":"PRIVATE","UserId":"u"}],"New":1.50}"#;

    fn grant(users: Scope) -> Grant {
        Grant {
            permissions: BTreeSet::new(),
            workspaces: Scope::Only(["1".into()].into()),
            users,
            official: false,
        }
    }

    fn page(body: &str, users: Scope, query: &str) -> Result<String, Error> {
        let query = Query::parse(query).unwrap();
        let shown = reveal(
            Bytes::copy_from_slice(body.as_bytes()),
            &grant(users),
            &query,
        )?;
        Ok(String::from_utf8(shown.to_vec()).unwrap())
    }

    fn nobody() -> Scope {
        Scope::Only(BTreeSet::new())
    }

    #[test]
    fn who_sees_all_gets_the_page_as_it_is() {
        let many = PAGE.replace(":2,", ":99,");
        assert_eq!(
            page(&many, Scope::All, "WorkspaceId=1&PageNumber=3").unwrap(),
            many
        );
    }

    #[test]
    fn a_whole_search_goes_out_without_what_is_not_seen_and_counts_so() {
        assert_eq!(
            page(PAGE, nobody(), "WorkspaceId=1").unwrap(),
            r#"{"RequestId":"R","TotalCount":1,"Images":[{"WorkspaceId":"1","Accessibility":"PUBLIC","Size":18446744073709551615}],"New":1.50}"#
        );
        let mine = Scope::Only(["u".into()].into());
        assert_eq!(page(PAGE, mine, "WorkspaceId=1").unwrap(), PAGE);
    }

    #[test]
    fn a_part_of_a_search_that_cannot_be_judged_is_refused() {
        let many = PAGE.replace(":2,", ":99,");
        let forbidden = |page: Result<String, Error>| matches!(page, Err(Error::Forbidden(_)));
        assert!(forbidden(page(&many, nobody(), "WorkspaceId=1")));
        assert!(forbidden(page(
            PAGE,
            nobody(),
            "WorkspaceId=1&PageNumber=2"
        )));
        // The origin shows another workspace's image although one was named.
        let foreign = many.replace("\"1\"", "\"2\"");
        assert!(forbidden(page(&foreign, Scope::All, "WorkspaceId=1")));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_page() {
        for body in [
            "[]",
            "{}",
            r#"{"Images":[],"TotalCount":0,"Images":[]}"#,
            r#"{"Images":{},"TotalCount":0}"#,
            r#"{"Images":[],"TotalCount":-1}"#,
        ] {
            let page = page(body, Scope::All, "");
            assert!(
                matches!(page, Err(Error::Upstream(UpstreamError::Unreadable))),
                "{body}"
            );
        }
    }
}
