//! Removal of a client from the clients' file.

use toml_edit::{DocumentMut, RawString};

use super::file::{ClientsFile, EditError, position, tables};
use super::rotate::{DroppedFiles, SECRETS};
use super::summary::texts;

impl ClientsFile {
    /// Removes a client, the comment lines directly above its table, and the files of its secrets.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    pub fn remove(&mut self, name: &str) -> Result<DroppedFiles, EditError> {
        let mut document = self.document()?;
        let tables = tables(&mut document, &self.path)?;
        let at = position(tables, name)?;
        if tables.len() == 1 {
            return Err(EditError::Last(name.to_owned()));
        }
        let table = tables.get(at).cloned().unwrap_or_default();
        tables.remove(at);
        let above = table.decor().prefix().and_then(RawString::as_str);
        keep_comments(&mut document, at, above.unwrap_or(""));
        let clients = self.save(document.to_string())?;
        Ok(self.delete_unused(&texts(&table, SECRETS), &clients))
    }
}

/// Puts the comments that stood above a removed table, up to the last empty line, above the table that follows, or at
/// the end of the file: they are about the file or about a group of clients.
fn keep_comments(document: &mut DocumentMut, at: usize, above: &str) {
    let Some(end) = above.rfind("\n\n").map(|end| end + 1) else {
        return;
    };
    let kept = above.get(..end).unwrap_or("");
    if kept.trim().is_empty() {
        return;
    }
    let clients = document.get_mut("client");
    let next = clients
        .and_then(|clients| clients.as_array_of_tables_mut())
        .and_then(|tables| tables.get_mut(at));
    if let Some(next) = next {
        let decor = next.decor_mut();
        let own = decor.prefix().and_then(RawString::as_str).unwrap_or("");
        let own = if own.starts_with('\n') {
            own.to_owned()
        } else {
            format!("\n{own}")
        };
        decor.set_prefix(format!("{kept}{own}"));
    } else {
        let trailing = document.trailing().as_str().unwrap_or("").to_owned();
        document.set_trailing(format!("{kept}{trailing}"));
    }
}
