//! Check of the keys in a write's request body, before the body is forwarded unchanged.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Action, Malformed};

/// Keys that decide about permission to write.
const JUDGED: [&str; 4] = ["ImageId", "WorkspaceId", "Accessibility", "UserId"];

/// Checks a write's request body: empty, or one JSON object.
///
/// `ImageId`, `WorkspaceId`, `Accessibility` and `UserId` decide about permission to write. A lenient JSON parser at
/// the origin would also read `workspaceid`, so these keys in any other spelling are malformed. If the path names the
/// image, they are malformed in every spelling, because the body could name another image. All other keys are left
/// to the origin.
///
/// # Errors
/// [`Malformed`] for such a key, and for a body that is not one complete object.
pub fn check_keys(action: Action, body: &[u8]) -> Result<(), Malformed> {
    if body.is_empty() {
        return Ok(());
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let misplaced = json
        .deserialize_map(JudgedKeys(action))
        .and_then(|misplaced| json.end().map(|()| misplaced));
    match misplaced {
        Ok(None) => Ok(()),
        Ok(Some(name)) if action == Action::AddImage => {
            Err(Malformed(format!("the body's {name} must be spelled so")))
        }
        Ok(Some(name)) => Err(Malformed(format!("the body must not name {name}"))),
        Err(_) => Err(Malformed::new("the body must be one JSON object")),
    }
}

/// Visitor that finds the first of [`JUDGED`] that is misspelled, or out of place for the action.
struct JudgedKeys(Action);

impl<'de> Visitor<'de> for JudgedKeys {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut misplaced = None;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            map.next_value::<IgnoredAny>()?;
            let meant = JUDGED.into_iter().find(|name| reads_as(&key, name));
            let in_place = |name: &&str| self.0 == Action::AddImage && *name == key;
            misplaced = misplaced.or(meant.filter(|name| !in_place(name)));
        }
        Ok(misplaced)
    }
}

/// Returns whether a lenient parser would read `key` as `name`: it folds case by Unicode's rules (`ı` and `İ` to
/// `i`, `ſ` to `s`, the Kelvin sign to `k`) and ignores `_`, `-` and blanks, as Fastjson's smart match does.
fn reads_as(key: &str, name: &str) -> bool {
    let skipped = |c: &char| matches!(c, '_' | '-' | '\u{307}') || c.is_whitespace();
    key.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .filter(|c| !skipped(c))
        .eq(name.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITES: [Action; 5] = [
        Action::AddImage,
        Action::AddImageLabels,
        Action::RemoveImageLabels,
        Action::PublishImage,
        Action::RemoveImage,
    ];

    #[test]
    fn a_judged_key_in_another_spelling_is_refused() {
        for key in [
            "imageid",
            "IMAGEID",
            "imageId",
            "image_id",
            "Image-Id",
            "workspaceid",
            "workspaceId",
            "WORKSPACEID",
            "\\u0077orkspaceId",
            "Work\u{17f}paceId",
            "Wor\u{212a}spaceId",
            "\u{131}mageId",
            "\u{130}mageId",
            "ACCESSIBILITY",
            "accessibility",
            "userid",
            " UserId",
        ] {
            let body = format!(r#"{{"Name":"a","{key}":"1"}}"#);
            for action in WRITES {
                assert!(
                    check_keys(action, body.as_bytes()).is_err(),
                    "{action:?} {body}"
                );
            }
        }
    }

    #[test]
    fn bodies_of_the_sdks_are_accepted() {
        let image = r#"{"Accessibility":"PUBLIC","Description":"NLP 模型 \"x\"","ImageId":"i","ImageUri":"r/x:1",
            "Labels":[{"Key":"workspaceid","Value":"imageid"}],"Name":"n","Size":2,"SourceId":"s","SourceType":"Import",
            "UserId":"1","WorkspaceId":"15945","Later":{"imageid":1}}"#;
        assert_eq!(check_keys(Action::AddImage, image.as_bytes()), Ok(()));
        let labels = r#"{ "Labels": [ {"Key": "k", "Value": "v"} ] }"#;
        assert_eq!(
            check_keys(Action::AddImageLabels, labels.as_bytes()),
            Ok(())
        );
        for action in WRITES {
            assert_eq!(check_keys(action, b""), Ok(()));
            assert_eq!(check_keys(action, b"{}"), Ok(()));
        }
    }

    #[test]
    fn a_body_beside_the_path_names_no_image() {
        for action in &WRITES[1..] {
            for key in JUDGED {
                let body = format!(r#"{{"Labels":[],"{key}":"1"}}"#);
                assert!(check_keys(*action, body.as_bytes()).is_err(), "{body}");
            }
        }
    }

    #[test]
    fn a_body_is_one_complete_object() {
        for body in ["[]", "null", "{", "{}x", "{} {}", "a=b", "\u{feff}{}", " "] {
            assert!(
                check_keys(Action::AddImage, body.as_bytes()).is_err(),
                "{body}"
            );
        }
    }
}
