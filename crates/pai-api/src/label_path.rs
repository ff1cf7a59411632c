//! Label keys in the last segment of a path, and their meaning to proxies that normalize paths.
//!
//! RemoveImageLabels carries its keys in the path, and a client may put any `/` and `.` into a key. A hop between
//! gateway and origin that decodes a path and resolves its dots (nginx with a URI in `proxy_pass`, a servlet
//! container) then requests another resource: `DELETE …/images/ID/labels/..` becomes `DELETE …/images/ID/`, which
//! is RemoveImage. A key is therefore malformed where such a hop would
//!
//! - drop it,
//! - resolve a `.` or `..` in it and arrive at an operation, another image or another key, or
//! - read it as a key of another spelling.

use super::Malformed;

/// Checks the decoded keys of one path segment, separated by commas.
///
/// An escape that remains after decoding (`%2E%2E`, sent as `%252E%252E`) passes: every hop that decodes a path
/// encodes it again, so it stays text.
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

/// Effect of a path segment on a hop that resolves dots.
enum SegmentKind {
    Nowhere,
    Up,
    Down,
}

/// Classifies a segment as the most lenient hop would: servlet containers strip path parameters (`..;x`), others
/// strip blanks.
fn kind(segment: &str) -> SegmentKind {
    let segment = segment.split(';').next().unwrap_or("");
    let blank = |c: char| c.is_whitespace() || c.is_control();
    match segment.trim_matches(blank) {
        "" | "." => SegmentKind::Nowhere,
        ".." => SegmentKind::Up,
        _ => SegmentKind::Down,
    }
}

/// Returns whether the keys, decoded and resolved, still name the same keys of the same image, or no operation.
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

/// Placeholder for the image's own id; it contains a slash, so no segment of a key equals it.
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
    fn keys_that_no_proxy_changes_are_accepted() {
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
