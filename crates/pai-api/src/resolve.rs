//! Request body of Resolve, which reads many images at once.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;

use super::{ImageId, ImageKey, Malformed};

/// Cache keys of the requested images, without repetitions, in the order of their first occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveRequest(Vec<ImageKey>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ResolveBody<'a> {
    #[serde(borrow)]
    image_ids: Vec<Cow<'a, str>>,
    #[serde(default)]
    verbose: bool,
}

impl ResolveRequest {
    /// Parses `{"ImageIds":[…],"Verbose":false}`; `Verbose` is optional. Unknown and repeated keys are errors,
    /// because two parsers could read such a body differently.
    ///
    /// # Errors
    /// [`Malformed`] unless the body is that object with 1 to `max_ids` ids, counted before repetitions are dropped.
    pub fn parse(body: &[u8], max_ids: usize) -> Result<Self, Malformed> {
        // Serde would accept an array as the struct's fields in their order.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let Some(ResolveBody { image_ids, verbose }) = serde_json::from_slice(body)
            .ok()
            .filter(|_: &ResolveBody<'_>| is_object)
        else {
            return Err(Malformed::new(
                "the body must be {\"ImageIds\":[\"…\"],\"Verbose\":false}, with nothing else in it and nothing twice",
            ));
        };
        if image_ids.is_empty() || image_ids.len() > max_ids {
            return Err(Malformed(format!(
                "ImageIds must be 1 to {max_ids} ids, not {}",
                image_ids.len()
            )));
        }
        let mut known = HashSet::with_capacity(image_ids.len());
        let mut keys = Vec::with_capacity(image_ids.len());
        for (at, id) in image_ids.iter().enumerate() {
            let image = ImageId::parse(id)
                .map_err(|malformed| Malformed(format!("ImageIds[{at}]: {malformed}")))?;
            if known.insert(id) {
                keys.push(ImageKey { image, verbose });
            }
        }
        Ok(Self(keys))
    }

    /// Returns the keys in the order of the request; there is at least one.
    #[must_use]
    pub fn keys(&self) -> &[ImageKey] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(body: &str) -> Result<Vec<String>, String> {
        let wanted = ResolveRequest::parse(body.as_bytes(), 3).map_err(|bad| bad.to_string())?;
        let ids = wanted.keys().iter().map(|key| key.image.to_string());
        Ok(ids.collect())
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
            assert_eq!(wanted.keys()[0].verbose, verbose, "{body}");
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

    proptest! {
        #[test]
        fn no_body_is_too_much_for_it(body in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(wanted) = ResolveRequest::parse(&body, 3) {
                prop_assert!((1..=3).contains(&wanted.keys().len()));
            }
        }
    }
}
