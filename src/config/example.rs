//! Reads the comments of config/gateway.toml, which explain each setting's default.

/// Example file: every setting with its default and the reason for it.
pub(super) const FILE: &str = include_str!("../../config/gateway.toml");

/// Returns the comment at the head of the file as one paragraph.
pub(super) fn preface() -> String {
    let head = FILE.lines().take_while(|line| line.starts_with('#'));
    prose(&head.collect::<Vec<_>>())
}

/// Returns the comment above a setting; settings on consecutive lines share it. Empty for a setting that the file
/// lacks.
pub(super) fn reason(key: &str) -> String {
    let (mut section, mut comment, mut is_open) = ("", Vec::new(), false);
    for line in FILE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            (section, comment) = (name.trim_end_matches(']'), Vec::new());
        } else if let Some(name) = setting(line) {
            is_open = false;
            if key.rsplit_once('.') == Some((section, name)) {
                return prose(&comment);
            }
        } else if line.starts_with('#') {
            if !is_open {
                comment.clear();
            }
            is_open = true;
            comment.push(line);
        } else if line.is_empty() {
            (comment, is_open) = (Vec::new(), false);
        }
    }
    String::new()
}

/// Returns the name of the setting that a line assigns or, behind `#:`, shows as an example.
fn setting(line: &str) -> Option<&str> {
    let line = line.strip_prefix("#:").unwrap_or(line);
    let (name, _) = line.split_once(" = ")?;
    let is_name =
        |letter: char| letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit();
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

fn prose(comment: &[&str]) -> String {
    let text = comment
        .iter()
        .map(|line| line.trim_start_matches('#').trim());
    let words = text.flat_map(str::split_whitespace);
    words.collect::<Vec<_>>().join(" ")
}
