//! Replacement of a client's secret: the new one beside the old one for a while, or instead of it.

use std::path::{Path, PathBuf};

use toml_edit::{Array, Item, Table, Value};

use super::Clients;
use super::file::{ClientsFile, EditError, position, tables};
use super::issue::{IssuedKey, draw_secret};
use super::summary::texts;

/// Key of the table that names the files of the secrets.
pub(super) const SECRETS: &str = "access_key_secret_file";

/// Fate of the old secret at a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldSecret {
    /// It stays valid until [`ClientsFile::finish_rotation`].
    Kept,
    /// It is refused from the next reload on, and its file is deleted.
    Revoked,
}

/// New secret of a client, and the files of its old one.
pub struct Rotation {
    /// Key with the new secret; its id is the old one.
    pub issued: IssuedKey,
    /// File of the secret that stays valid.
    pub kept: Option<PathBuf>,
    /// Files of secrets that are no longer valid.
    pub dropped: DroppedFiles,
}

/// Files of secrets that no client names any more.
#[derive(Debug, Default)]
pub struct DroppedFiles {
    /// Deleted files.
    pub deleted: Vec<PathBuf>,
    /// Files in other folders, and files that could not be deleted.
    pub left: Vec<PathBuf>,
}

impl ClientsFile {
    /// Gives a client a new secret in a file of its own, under the same access key id.
    ///
    /// # Errors
    /// [`EditError`]; both the clients' file and the secrets are then as before.
    pub fn rotate(&mut self, name: &str, old: OldSecret) -> Result<Rotation, EditError> {
        let mut document = self.document()?;
        let tables = tables(&mut document, &self.path)?;
        let at = position(tables, name)?;
        let no_key = || EditError::NoKey(name.to_owned());
        let table = tables.get_mut(at).ok_or_else(no_key)?;
        let before = texts(table, SECRETS);
        let id = table.get("access_key_id").and_then(Item::as_str);
        let id = id.ok_or_else(no_key)?.to_owned();
        if before.len() > 1 && old == OldSecret::Kept {
            return Err(EditError::Rotating(name.to_owned()));
        }
        let like = before.first().map(|file| self.beside(file));
        let (issued, file_name) = self.new_secret(name, id, like.as_deref())?;
        let (kept, dropped) = match old {
            OldSecret::Kept => before.split_at(before.len()),
            OldSecret::Revoked => before.split_at(0),
        };
        set_secrets(table, std::iter::once(&file_name).chain(kept));
        let clients = match self.save(document.to_string()) {
            Ok(clients) => clients,
            Err(error) => {
                std::fs::remove_file(&issued.secret_file)
                    .map_err(EditError::at(&issued.secret_file))?;
                return Err(error);
            }
        };
        Ok(Rotation {
            kept: kept.first().map(|file| self.beside(file)),
            dropped: self.delete_unused(dropped, &clients),
            issued,
        })
    }

    /// Removes every secret of a client but the first that its table names, which is that of the latest rotation.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    pub fn finish_rotation(&mut self, name: &str) -> Result<DroppedFiles, EditError> {
        let mut document = self.document()?;
        let tables = tables(&mut document, &self.path)?;
        let at = position(tables, name)?;
        let table = tables.get_mut(at);
        let table = table.ok_or_else(|| EditError::Unknown(name.to_owned()))?;
        let names = texts(table, SECRETS);
        let Some((newest, old)) = names.split_first().filter(|(_, old)| !old.is_empty()) else {
            return Err(EditError::NotRotating(name.to_owned()));
        };
        set_secrets(table, [newest]);
        let clients = self.save(document.to_string())?;
        Ok(self.delete_unused(old, &clients))
    }

    /// Writes a new secret to the first free one of `NAME.2.secret`, `NAME.3.secret`, and so on.
    fn new_secret(
        &self,
        name: &str,
        id: String,
        like: Option<&Path>,
    ) -> Result<(IssuedKey, String), EditError> {
        let mut names = (2_u32..).map(|number| format!("{name}.{number}.secret"));
        let is_free = |file: &String| !self.beside(file).exists();
        let file_name = names.find(is_free).ok_or(EditError::Name)?;
        let issued = IssuedKey {
            access_key_id: id,
            secret: draw_secret()?,
            secret_file: self.beside(&file_name),
        };
        issued
            .write_secret(like)
            .map_err(EditError::at(&issued.secret_file))?;
        Ok((issued, file_name))
    }

    /// Deletes those of the named files that no client names any more. A file in another folder is left: another program
    /// put it there, and may use it.
    pub(super) fn delete_unused(&self, names: &[String], clients: &Clients) -> DroppedFiles {
        let mut dropped = DroppedFiles::default();
        let used = clients.secret_files();
        for name in names {
            let path = self.beside(name);
            if used.contains(&path) {
                continue;
            }
            if !name.contains('/') && std::fs::remove_file(&path).is_ok() {
                dropped.deleted.push(path);
            } else {
                dropped.left.push(path);
            }
        }
        dropped
    }
}

/// Names the files of the secrets: one as a text, two as a list. A comment on the line stays.
fn set_secrets<'a>(table: &mut Table, files: impl IntoIterator<Item = &'a String>) {
    let files: Vec<&str> = files.into_iter().map(String::as_str).collect();
    let mut value = match files.as_slice() {
        [one] => Value::from(*one),
        several => Value::from(Array::from_iter(several.iter().copied())),
    };
    let before = table.get(SECRETS).and_then(Item::as_value);
    if let Some(before) = before {
        *value.decor_mut() = before.decor().clone();
    }
    table.insert(SECRETS, Item::Value(value));
}
