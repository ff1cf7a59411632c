//! Comparison of an item of a list with GetImage's answer for the same image, member by member.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use pai_api::IMAGE_MEMBERS;
use serde_json::Value;
use serde_json::value::RawValue;

/// Name of the difference where the object itself cannot be read.
const UNREADABLE: &str = "unreadable";
/// Name of the difference in a member that the API does not document.
const OTHER: &str = "other";
/// Name of the difference where GetImage denies an image that a list shows.
pub(super) const DENIED: &str = "image";

type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// Returns the name of a member in which the two differ; `None` if they agree.
///
/// `RequestId` is left aside and `ImageId` compared only where both have it, because GetImage's documented answer has
/// none. A member that is null equals one that is absent, and labels are a set.
pub(super) fn difference(item: &[u8], answer: &[u8]) -> Option<&'static str> {
    let (Some(item), Some(answer)) = (members(item), members(answer)) else {
        return Some(UNREADABLE);
    };
    differing(&item, &answer).next().map(documented)
}

/// Returns the names of all members in which the two differ, in alphabetical order and by the rules of the catalogue's
/// own comparison; `None` if one of the two is no object.
#[must_use]
pub fn differences(item: &[u8], answer: &[u8]) -> Option<Vec<String>> {
    let (item, answer) = (members(item)?, members(answer)?);
    Some(differing(&item, &answer).map(str::to_owned).collect())
}

/// Returns the names of the members that are neither missing nor null in the second object, but are in the first, in
/// alphabetical order; `None` if one of the two is no object.
#[must_use]
pub fn added_members(first: &[u8], second: &[u8]) -> Option<Vec<String>> {
    let (first, second) = (members(first)?, members(second)?);
    let added = second.keys().filter(|name| !first.contains_key(*name));
    let added: BTreeSet<String> = added.map(ToString::to_string).collect();
    Some(added.into_iter().collect())
}

/// Returns the names of the members in which two objects differ, in alphabetical order.
fn differing<'a>(
    item: &'a Members<'_>,
    answer: &'a Members<'_>,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let names: BTreeSet<&str> = item
        .keys()
        .chain(answer.keys())
        .map(|name| &**name)
        .collect();
    let differs = |name: &&str| {
        let (a, b) = (item.get(*name), answer.get(*name));
        match *name {
            "RequestId" => false,
            "ImageId" if a.is_none() || b.is_none() => false,
            name => !agree(name, a, b),
        }
    };
    names.into_iter().filter(differs)
}

/// Returns the name of every difference there can be, so that each has a counter from the start.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    IMAGE_MEMBERS.into_iter().chain([UNREADABLE, OTHER, DENIED])
}

/// Returns the members of an object that are not null; `None` for what is no object.
fn members(object: &[u8]) -> Option<Members<'_>> {
    let mut members: Members<'_> = serde_json::from_slice(object).ok()?;
    members.retain(|_, value| value.get() != "null");
    Some(members)
}

fn agree(name: &str, a: Option<&&RawValue>, b: Option<&&RawValue>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return a.is_none() && b.is_none();
    };
    if a.get() == b.get() {
        return true;
    }
    let parsed = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    match (parsed(a), parsed(b)) {
        (Some(Value::Array(a)), Some(Value::Array(b))) if name == "Labels" => set(&a) == set(&b),
        (Some(a), Some(b)) => a == b,
        (None, _) | (_, None) => false,
    }
}

/// Returns the elements in one spelling each; the keys of an object are sorted in it.
fn set(labels: &[Value]) -> BTreeSet<String> {
    labels.iter().map(Value::to_string).collect()
}

fn documented(name: &str) -> &'static str {
    let known = IMAGE_MEMBERS.iter().find(|member| **member == name);
    known.copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_compared_by_meaning() {
        for (item, answer, expected) in [
            (r#"{"Name":"a"}"#, r#"{"RequestId":"R","Name":"a"}"#, None),
            (
                r#"{"Name":"a","Size":1}"#,
                r#"{ "Size": 1, "Name":"\u0061"}"#,
                None,
            ),
            (r#"{"ImageId":"i","Name":"a"}"#, r#"{"Name":"a"}"#, None),
            (r#"{"ImageId":"i"}"#, r#"{"ImageId":"j"}"#, Some("ImageId")),
            (r#"{"Identity":null}"#, r"{}", None),
            (r"{}", r#"{"Signature":null}"#, None),
            (r#"{"WorkspaceId":"1"}"#, r"{}", Some("WorkspaceId")),
            (
                r#"{"WorkspaceId":"1"}"#,
                r#"{"WorkspaceId":null}"#,
                Some("WorkspaceId"),
            ),
            (r#"{"Size":1}"#, r#"{"Size":"1"}"#, Some("Size")),
            (r#"{"New":1}"#, r#"{"New":2}"#, Some("other")),
            (r#"{"Name":"a"}"#, "[]", Some("unreadable")),
            ("{}", "{", Some("unreadable")),
            // Equal as they came, though no parser reads the text.
            (
                r#"{"Description":"\ud800"}"#,
                r#"{"Description":"\ud800"}"#,
                None,
            ),
            (
                r#"{"Description":"\ud800"}"#,
                r#"{"Description":"\ud801"}"#,
                Some("Description"),
            ),
        ] {
            assert_eq!(
                difference(item.as_bytes(), answer.as_bytes()),
                expected,
                "{item} {answer}"
            );
        }
    }

    #[test]
    fn every_difference_is_named_as_the_answers_spell_it() {
        let item = br#"{"ImageId":"i","Name":"a","New":1,"Size":1,"UserId":null}"#;
        let answer = br#"{"RequestId":"R","Labels":[],"Name":"b","New":2,"Size":1}"#;
        let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
        assert_eq!(differences(item, answer), names(&["Labels", "Name", "New"]));
        assert_eq!(differences(item, item), names(&[]));
        assert_eq!(differences(item, b"[]"), None);
        assert_eq!(added_members(item, answer), names(&["Labels", "RequestId"]));
        assert_eq!(added_members(answer, br#"{"Name":null}"#), names(&[]));
        assert_eq!(added_members(b"{", item), None);
    }

    #[test]
    fn labels_are_a_set() {
        let labels = |labels: &str| format!(r#"{{"Labels":[{labels}]}}"#);
        let (a, b) = (r#"{"Key":"a","Value":"1"}"#, r#"{"Value":"2","Key":"b"}"#);
        let one = labels(&format!("{a},{b}"));
        for (other, expected) in [
            (labels(&format!("{b},{a}")), None),
            (labels(&format!(r#"{a},{{"Key":"b","Value":"2"}}"#)), None),
            (labels(&format!("{a},{b},{a}")), None),
            (labels(a), Some("Labels")),
            (labels(""), Some("Labels")),
            (r#"{"Labels":{}}"#.to_owned(), Some("Labels")),
            ("{}".to_owned(), Some("Labels")),
        ] {
            assert_eq!(
                difference(one.as_bytes(), other.as_bytes()),
                expected,
                "{other}"
            );
        }
    }
}
