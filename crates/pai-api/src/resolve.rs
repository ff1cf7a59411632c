//! Request body of Resolve, which reads many images at once.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;

use super::{Call, ImageId, ImageKey, Malformed, Operation};

/// Images that a Resolve names, without repetitions: ids in the order of their first occurrence, then URIs likewise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveRequest(Vec<ResolveItem>);

/// One image of a Resolve, as the request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveItem {
    /// By its id; as the key of its cached entry.
    Id(ImageKey),
    /// By its URI.
    Uri(ImageUri),
}

/// URI of images: 1 to 1,024 bytes without control characters or white space, compared exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUri {
    text: String,
    verbose: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ResolveBody<'a> {
    #[serde(borrow, default)]
    image_ids: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    image_uris: Vec<Cow<'a, str>>,
    #[serde(default)]
    verbose: bool,
}

impl ResolveRequest {
    /// Parses `{"ImageIds":[…],"ImageUris":[…],"Verbose":false}`, of which one list is enough. Unknown and repeated
    /// keys are errors, because two parsers could read such a body differently.
    ///
    /// # Errors
    /// [`Malformed`] unless the body is that object with 1 to `max_images` ids and URIs together, counted before
    /// repetitions are dropped.
    pub fn parse(body: &[u8], max_images: usize) -> Result<Self, Malformed> {
        // Serde would accept an array as the struct's fields in their order.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let Some(ResolveBody {
            image_ids,
            image_uris,
            verbose,
        }) = serde_json::from_slice(body)
            .ok()
            .filter(|_: &ResolveBody<'_>| is_object)
        else {
            return Err(Malformed::new(
                "the body must be {\"ImageIds\":[\"…\"],\"ImageUris\":[\"…\"],\"Verbose\":false}, with nothing else in it and nothing twice",
            ));
        };
        let images = image_ids.len() + image_uris.len();
        if images == 0 || images > max_images {
            return Err(Malformed(format!(
                "ImageIds and ImageUris must together be 1 to {max_images}, not {images}"
            )));
        }
        let mut items = Vec::with_capacity(images);
        for (at, id) in first_ones("ImageIds", &image_ids) {
            let image = ImageId::parse(id).map_err(|bad| bad.at(&at))?;
            items.push(ResolveItem::Id(ImageKey { image, verbose }));
        }
        for (at, text) in first_ones("ImageUris", &image_uris) {
            let uri = ImageUri::parse(text, verbose).map_err(|bad| bad.at(&at))?;
            items.push(ResolveItem::Uri(uri));
        }
        Ok(Self(items))
    }

    /// Returns what was named, in the order of the results; there is at least one.
    #[must_use]
    pub fn items(&self) -> &[ResolveItem] {
        &self.0
    }
}

impl ImageUri {
    const MAX_LEN: usize = 1024;

    /// Parses a URI; `verbose` says whether its images are wanted with their labels.
    ///
    /// # Errors
    /// [`Malformed`] unless the text has the form of [`ImageUri`].
    pub fn parse(text: &str, verbose: bool) -> Result<Self, Malformed> {
        let is_odd = |c: char| c.is_control() || c.is_whitespace();
        if text.is_empty() || text.len() > Self::MAX_LEN || text.contains(is_odd) {
            return Err(Malformed(format!(
                "ImageUri must be 1 to {} bytes without white space",
                Self::MAX_LEN
            )));
        }
        Ok(Self {
            text: text.to_owned(),
            verbose,
        })
    }

    /// Returns the text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether its images are wanted with their labels.
    #[must_use]
    pub const fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Makes the ListImages call that finds the images of this URI, as the gateway itself sends it: in all workspaces,
    /// the newest first, the page of this number, from 1, of `page_size` images.
    #[must_use]
    pub fn search(&self, page: usize, page_size: usize) -> Call {
        let mut query: Vec<(&str, String)> = vec![
            ("ImageUri", self.text.clone()),
            ("Order", "DESC".to_owned()),
            ("PageNumber", page.to_string()),
            ("PageSize", page_size.to_string()),
        ];
        if self.verbose {
            query.push(("Verbose", "true".to_owned()));
        }
        Call {
            operation: Operation::ListImages,
            query: query.into_iter().collect(),
        }
    }
}

/// Returns the texts of a list without repetitions, each with its place for an error, such as `ImageIds[3]`.
fn first_ones<'a>(
    list: &'static str,
    texts: &'a [Cow<'_, str>],
) -> impl Iterator<Item = (String, &'a str)> {
    let mut known = HashSet::with_capacity(texts.len());
    let places = texts.iter().enumerate();
    places.filter_map(move |(at, text)| {
        let text: &str = text;
        known.insert(text).then(|| (format!("{list}[{at}]"), text))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(body: &str) -> Result<Vec<String>, String> {
        let wanted = ResolveRequest::parse(body.as_bytes(), 3).map_err(|bad| bad.to_string())?;
        let names = wanted.items().iter().map(|item| match item {
            ResolveItem::Id(key) => key.image.to_string(),
            ResolveItem::Uri(uri) => uri.as_str().to_owned(),
        });
        Ok(names.collect())
    }

    #[test]
    fn repeated_ids_fold_to_the_first() {
        assert_eq!(
            ids(r#"{"ImageIds":["b","a","b"]}"#),
            Ok(vec!["b".to_owned(), "a".to_owned()])
        );
        // However they are escaped.
        assert_eq!(
            ids(r#" {"Verbose":true,"ImageIds":["a","\u0061"]} "#),
            Ok(vec!["a".to_owned()])
        );
    }

    #[test]
    fn verbose_holds_for_all_and_is_off_unless_asked() {
        for (body, verbose) in [
            (r#"{"ImageIds":["a"]}"#, false),
            (r#"{"ImageIds":["a"],"Verbose":false}"#, false),
            (r#"{"ImageIds":["a"],"Verbose":true}"#, true),
        ] {
            let wanted = ResolveRequest::parse(body.as_bytes(), 3).unwrap();
            let ResolveItem::Id(key) = &wanted.items()[0] else {
                panic!("an id");
            };
            assert_eq!(key.verbose, verbose, "{body}");
        }
    }

    #[test]
    fn anything_else_is_refused_whole() {
        for body in [
            "",
            "null",
            "[]",
            r#"[["a"],true]"#,
            "{}",
            r#"{"ImageIds":[]}"#,
            r#"{"ImageIds":["a","b","c","a"]}"#,
            r#"{"ImageIds":["a","b"],"ImageUris":["r/c","r/d"]}"#,
            r#"{"ImageIds":[],"ImageUris":[]}"#,
            r#"{"ImageUris":["r/a"],"ImageUris":["r/a"]}"#,
            r#"{"ImageUris":[""]}"#,
            r#"{"ImageUris":["r/a b"]}"#,
            r#"{"ImageUris":["r/a\u0000"]}"#,
            r#"{"ImageIds":"a"}"#,
            r#"{"ImageIds":[1]}"#,
            r#"{"ImageIds":[null]}"#,
            r#"{"ImageIds":["a"],"Verbose":"true"}"#,
            r#"{"ImageIds":["a"],"Verbose":null}"#,
            r#"{"ImageIds":["a"],"imageIds":["b"]}"#,
            r#"{"ImageIds":["a"],"ImageIds":["b"]}"#,
            r#"{"ImageIds":["a"],"Verbose":true,"Verbose":true}"#,
            r#"{"ImageIds":["a"]} x"#,
            r#"{"ImageIds":["a"]}{}"#,
        ] {
            assert!(ids(body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_bad_id_is_named_by_its_place() {
        let refused = ids(r#"{"ImageIds":["a","a/b"]}"#).unwrap_err();
        assert!(
            refused.starts_with("ImageIds[1]: ImageId must be"),
            "{refused}"
        );
    }

    #[test]
    fn ids_come_before_uris_and_each_once() {
        let body = r#"{"ImageUris":["r/b:1","r/a:1","r/b:1"],"ImageIds":["a"]}"#;
        assert!(ids(body).is_err(), "four of three");
        let body = r#"{"ImageUris":["r/b:1","r/b:1"],"ImageIds":["a"]}"#;
        assert_eq!(ids(body), Ok(vec!["a".to_owned(), "r/b:1".to_owned()]));
        let longest = format!(r#"{{"ImageUris":["{}"]}}"#, "u".repeat(1024));
        assert!(ids(&longest).is_ok());
        let longer = format!(r#"{{"ImageUris":["r/a","{}"]}}"#, "u".repeat(1025));
        assert!(ids(&longer).unwrap_err().starts_with("ImageUris[1]: "));
    }

    #[test]
    fn a_uri_is_searched_in_all_workspaces() {
        let uri = ImageUri::parse("r.example/a/b:1", true).unwrap();
        assert_eq!(
            uri.search(2, 50).query.canonical(),
            "ImageUri=r.example%2Fa%2Fb%3A1&Order=DESC&PageNumber=2&PageSize=50&Verbose=true"
        );
    }

    proptest! {
        #[test]
        fn no_body_is_too_much_for_it(body in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(wanted) = ResolveRequest::parse(&body, 3) {
                prop_assert!((1..=3).contains(&wanted.items().len()));
            }
        }
    }
}
