//! Label keys as the last segment of a path, and what hops on the way may make of them.
//!
//! RemoveImageLabels carries its keys in the path, each `/` and `.` as the client likes it. A hop between here
//! and the origin that decodes a path and resolves its dots (nginx with a URI in `proxy_pass`, a servlet
//! container behind it) asks for another resource then: `DELETE …/images/ID/labels/..` becomes
//! `DELETE …/images/ID/`, which is RemoveImage. So a key is refused where such a hop would
//!
//! - leave nothing of it,
//! - take a `.` or `..` for a step, and arrive at an operation, another image or another key, or
//! - take it for a key of another spelling.

use super::Malformed;

/// Checks the decoded keys of one path segment, which commas separate.
///
/// An escape that is left after decoding (`%2E%2E`, sent as `%252E%252E`) is text to every hop that encodes
/// again what it has decoded.
///
/// # Errors
/// [`Malformed`] for an empty key, a key `.` or `..`, and one that a hop would resolve as above.
pub(super) fn check_keys(keys: &str) -> Result<(), Malformed> {
    let mut each = keys.split(',');
    if each.all(|key| !matches!(kind(key), SegmentKind::Nowhere | SegmentKind::Up))
        && survives_dot_resolution(keys)
    {
        return Ok(());
    }
    Err(Malformed::new(
        "a label key must not be empty, '.' or '..', nor lead there in a path",
    ))
}

/// What a segment of a path means to a hop that resolves dots.
enum SegmentKind {
    Nowhere,
    Up,
    Down,
}

/// Judges a segment as the most generous hop does: servlet containers cut path parameters (`..;x`), others
/// blanks.
fn kind(segment: &str) -> SegmentKind {
    let segment = segment.split(';').next().unwrap_or("");
    let blank = |c: char| c.is_whitespace() || c.is_control();
    match segment.trim_matches(blank) {
        "" | "." => SegmentKind::Nowhere,
        ".." => SegmentKind::Up,
        _ => SegmentKind::Down,
    }
}

/// Whether the keys, decoded and resolved, still name these keys of this image, or nothing at all.
fn survives_dot_resolution(keys: &str) -> bool {
    let mut path = vec!["images", THIS_IMAGE, "labels"];
    for segment in keys.split(['/', '\\']) {
        match kind(segment) {
            SegmentKind::Nowhere => {}
            SegmentKind::Up => drop(path.pop()),
            SegmentKind::Down => path.push(segment),
        }
    }
    match path.as_slice() {
        ["images", THIS_IMAGE, "labels", key] => *key == keys,
        ["images", THIS_IMAGE, "labels"] | ["images", THIS_IMAGE] => false,
        // No operation: the origin has nothing to delete there.
        ["images", THIS_IMAGE, ..] => true,
        _ => false,
    }
}

/// Stands for the image's own id, which no segment of a key can be.
const THIS_IMAGE: &str = "/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_a_hop_takes_for_a_path_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "a,",
            ",a",
            "a,,b",
            "a,..",
            "./..",
            "../",
            "/..",
            "../..",
            "../../image-2",
            "../../../workspaces/1",
            "x/../..",
            "x/../../../image-2",
            "../labels",
            "../labels/other",
            "a/../b",
            "a/..",
            "a/.",
            "a/",
            "/a",
            "//",
            "..\\",
            "..\\..\\image-2",
            "..;",
            "..;x=1/..;/image-2",
            ".;x",
            ";",
            " .. ",
            "..\t",
            "../publish/..",
        ] {
            assert!(check_keys(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_that_stay_what_they_are_pass() {
        for good in [
            "a",
            "system.origin",
            "a,b",
            "...",
            ".hidden",
            "..a",
            "a..",
            "../x",
            "a/b",
            "key1,key/2 ~*",
            "a//b",
            "%2E%2E",
            "%2E%2E%2Fimage-2",
            "%252E",
            "a;b",
            "a b",
            "中",
            "key/2 ~*+%2C中&#?;:@'!()",
        ] {
            assert!(check_keys(good).is_ok(), "{good:?}");
        }
    }
}
