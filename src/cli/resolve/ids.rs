//! Reads image ids from a file, one on each line.

use std::collections::HashSet;
use std::fmt::Write as _;

use anyhow::ensure;

use crate::api::ImageId;

/// Malformed lines that are printed; with more of them it is probably another kind of file.
const MAX_REPORTED: usize = 20;

/// Reads the ids in order, without repetitions, comments and blank lines.
///
/// # Errors
/// Malformed lines, each with its number, or no id at all.
pub(super) fn read_ids(text: &str) -> anyhow::Result<Vec<&str>> {
    let (mut ids, mut known) = (Vec::new(), HashSet::new());
    let (mut bad, mut report) = (0, String::new());
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let id = line.split('#').next().unwrap_or("").trim();
        if id.is_empty() {
            continue;
        }
        if let Err(malformed) = ImageId::parse(id) {
            bad += 1;
            if bad <= MAX_REPORTED {
                // Writing to a String cannot fail.
                let _ = write!(report, "\n  line {}: {malformed}", number + 1);
            }
        } else if known.insert(id) {
            ids.push(id);
        }
    }
    ensure!(
        bad == 0,
        "{bad} of the lines are no image ids; nothing was sent{report}"
    );
    ensure!(!ids.is_empty(), "it holds no image id");
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_once_each_without_comments() {
        let text = "# the queue's\n\n b # twice\r\na\nb\n";
        assert_eq!(read_ids(text).unwrap(), ["b", "a"]);
        assert!(read_ids("# none\n").is_err());
    }

    #[test]
    fn every_bad_line_is_reported_by_its_number() {
        let message = format!("{:#}", read_ids("a\na/b\n\nc d\n").unwrap_err());
        assert!(
            message.contains("line 2: ImageId must") && message.contains("line 4:"),
            "{message}"
        );
        let many = format!("{}", read_ids(&"/\n".repeat(500)).unwrap_err());
        assert_eq!(many.lines().count(), MAX_REPORTED + 1);
        assert!(many.starts_with("500 of the lines"));
    }
}
