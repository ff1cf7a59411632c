//! The keys of a write's body, read before it is passed on.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Action, Malformed};

/// The keys that decide who may write what.
const JUDGED: [&str; 4] = ["ImageId", "WorkspaceId", "Accessibility", "UserId"];

/// Checks a write's body: nothing, or one JSON object.
///
/// `ImageId`, `WorkspaceId`, `Accessibility` and `UserId` decide who may write what. An origin whose parser is
/// generous with names would read `workspaceid`, so one of these keys in another spelling is refused. Where the
/// path names the image, so is one of them as it stands, for the body would name another. Every other key is the
/// origin's to judge.
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

/// Finds the first judged key that is misspelled or out of place.
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

/// Whether a generous parser would take `key` for `name`: case by Unicode's rules (`ı` and `İ` for `i`, `ſ`
/// for `s`, the Kelvin sign for `k`), `_`, `-` and blanks left out, as Fastjson's smart match has it.
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
    fn what_the_sdks_send_passes() {
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
