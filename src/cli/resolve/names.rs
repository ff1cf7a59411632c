//! Reads image ids and URIs from a file, one on each line.

use std::collections::HashSet;
use std::fmt::Write as _;

use anyhow::ensure;

use crate::api::{ImageId, ImageUri, Malformed};

/// Malformed lines that are printed; with more of them it is probably another kind of file.
const MAX_REPORTED: usize = 20;

/// An image as a line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ImageName<'a> {
    Id(&'a str),
    /// Text that begins with a registry and a `/`, which no id has.
    Uri(&'a str),
}

impl<'a> ImageName<'a> {
    fn parse(text: &'a str) -> Result<Self, Malformed> {
        // As in a reference of Docker's: without a dot or a port it is no registry.
        let registry = text.split_once('/').map_or("", |(registry, _)| registry);
        if registry.contains(['.', ':']) {
            ImageUri::parse(text, false).map(|_| Self::Uri(text))
        } else {
            ImageId::parse(text).map(|_| Self::Id(text))
        }
    }

    /// Returns the id, if this is one.
    pub(super) const fn id(self) -> Option<&'a str> {
        match self {
            Self::Id(id) => Some(id),
            Self::Uri(_) => None,
        }
    }

    /// Returns the URI, if this is one.
    pub(super) const fn uri(self) -> Option<&'a str> {
        match self {
            Self::Id(_) => None,
            Self::Uri(uri) => Some(uri),
        }
    }
}

/// Reads the ids and URIs in order, without repetitions, comments and blank lines.
///
/// # Errors
/// Malformed lines, each with its number, or no image at all.
pub(super) fn read_names(text: &str) -> anyhow::Result<Vec<ImageName<'_>>> {
    let (mut names, mut known) = (Vec::new(), HashSet::new());
    let (mut bad, mut report) = (0, String::new());
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let name = line.split('#').next().unwrap_or("").trim();
        if name.is_empty() {
            continue;
        }
        match ImageName::parse(name) {
            Ok(name) if known.insert(name) => names.push(name),
            Ok(_) => {}
            Err(malformed) => {
                bad += 1;
                if bad <= MAX_REPORTED {
                    // Writing to a String cannot fail.
                    let _ = write!(report, "\n  line {}: {malformed}", number + 1);
                }
            }
        }
    }
    ensure!(
        bad == 0,
        "{bad} of the lines are no image ids or URIs; nothing was sent{report}"
    );
    ensure!(!names.is_empty(), "it holds no image id or URI");
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_once_each_without_comments() {
        let text = "# the queue's\n\n b # twice\r\na\nr.io/c:1 \nb\nr.io/c:1\n";
        assert_eq!(
            read_names(text).unwrap(),
            [
                ImageName::Id("b"),
                ImageName::Id("a"),
                ImageName::Uri("r.io/c:1")
            ]
        );
        assert!(read_names("# none\n").is_err());
    }

    #[test]
    fn every_bad_line_is_reported_by_its_number() {
        let message = format!("{:#}", read_names("a\nr.io/b c\n\nc d\n").unwrap_err());
        assert!(
            message.contains("line 2: ImageUri must") && message.contains("line 4: ImageId must"),
            "{message}"
        );
        let many = format!("{}", read_names(&"a/b\n".repeat(500)).unwrap_err());
        assert_eq!(many.lines().count(), MAX_REPORTED + 1);
        assert!(many.starts_with("500 of the lines"));
    }
}
