//! Writes to the terminal: results to standard output, errors to standard error.

use std::io::Write as _;

use serde::Serialize;

use super::Exit;

/// Writes to standard output; fails when its reader has gone, as in `… | head`.
pub(super) fn print_out(text: &str) -> Exit {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Success,
        Err(_) => Exit::Failure,
    }
}

/// Writes a value to standard output as one line of JSON.
///
/// # Errors
/// A value that JSON cannot express.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<Exit> {
    Ok(print_out(&format!("{}\n", serde_json::to_string(value)?)))
}

/// Writes an error to standard error. A failure to do so is ignored: there is nowhere to report it.
pub(super) fn print_error(text: &str) {
    print_note(&format!("error: {text}"));
}

/// Writes a remark to standard error, so that standard output holds the result alone.
pub(super) fn print_note(text: &str) {
    drop(writeln!(std::io::stderr(), "{}", text.trim_end()));
}

/// Replaces control characters by spaces: texts of another party must not move the terminal's cursor or change its
/// colours.
pub(super) fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}
