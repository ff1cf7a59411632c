//! Changes to the clients' file by commands: comments, order and spelling of everything else stay, and a reader finds
//! the old file or the new one, whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::{Clients, InvalidClients, fields};
use crate::private_file::{AtomicFile, folder};

/// The clients' file of one command, which keeps other commands from changing it meanwhile.
pub struct ClientsFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    _lock: Option<File>,
}

/// Failure to change the clients' file, which is as before then; no new secret's file remains.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The name breaks the rule for names.
    #[error("the client's name: {}", fields::NAMES)]
    Name,
    /// A client of this name is in the file already.
    #[error(
        "client \"{0}\" is there already: `client rotate {0}` gives it a new secret, `client remove {0}` removes it"
    )]
    Exists(String),
    /// The file has no client of this name.
    #[error("there is no client \"{0}\": `client list` prints the names")]
    Unknown(String),
    /// The client has no access key, whose secret could be replaced.
    #[error(
        "client \"{0}\" has no access key: edit its bearer_sha256, of which two may be valid at once, its mtls_name or its service_account in the file"
    )]
    NoKey(String),
    /// Two secrets of the client are valid already.
    #[error(
        "client \"{0}\" has two valid secrets already: end the earlier rotation by `client rotate {0} --finish`, which removes the old one"
    )]
    Rotating(String),
    /// The client has one secret, so that there is no rotation to end.
    #[error("client \"{0}\" has one secret: `client rotate {0}` begins a rotation")]
    NotRotating(String),
    /// The client is the only one.
    #[error(
        "client \"{0}\" is the only one, and a running gateway rejects a file without clients, so that it would go on accepting this one: add another client first, or stop the gateway"
    )]
    Last(String),
    /// The clients are not written as `[[client]]` tables.
    #[error("{}: write each client as a [[client]] table, in valid TOML", .0.display())]
    Shape(PathBuf),
    /// The clients' file would be invalid.
    #[error(transparent)]
    Clients(#[from] InvalidClients),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        error: io::Error,
    },
    /// The operating system provides no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl EditError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}

impl ClientsFile {
    /// Reads the file, and locks its folder until this value is dropped. A missing file counts as empty.
    ///
    /// # Errors
    /// A file that cannot be read, or that another command is changing.
    pub fn open(path: &Path) -> Result<Self, EditError> {
        let lock = File::open(folder(path)).map_err(EditError::at(folder(path)))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let busy = io::Error::other("another command is changing it: try again");
            EditError::at(path)(busy)
        })?;
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(EditError::at(path))?,
        };
        Ok(Self {
            path: path.to_owned(),
            text,
            _lock: Some(lock),
        })
    }

    /// Reads the file to show it, without a lock.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(path: &Path) -> Result<Self, EditError> {
        Ok(Self {
            path: path.to_owned(),
            text: std::fs::read_to_string(path).map_err(EditError::at(path))?,
            _lock: None,
        })
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn document(&self) -> Result<DocumentMut, EditError> {
        // The parser's own error would quote the line, and with it perhaps a secret.
        let parsed = self.text.parse();
        parsed.map_err(|_| EditError::Shape(self.path.clone()))
    }

    /// Returns the folder that paths in the file count from.
    fn base(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Returns a path that the file names.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.base().join(name)
    }

    /// Checks the new text and replaces the file by it. A new file gets the mode 0640.
    pub(super) fn save(&mut self, text: String) -> Result<Clients, EditError> {
        let clients = Clients::check(&text, self.base())?;
        let write = || {
            AtomicFile::write(&self.path, |file| file.write_all(text.as_bytes()))?
                .with_access_of_target(0o640)?
                .persist()
        };
        write().map_err(EditError::at(&self.path))?;
        self.text = text;
        Ok(clients)
    }
}

/// Returns the `[[client]]` tables of a document.
pub(super) fn tables<'a>(
    document: &'a mut DocumentMut,
    path: &Path,
) -> Result<&'a mut ArrayOfTables, EditError> {
    let clients = document.get_mut("client");
    let tables = clients.and_then(Item::as_array_of_tables_mut);
    tables.ok_or_else(|| EditError::Shape(path.to_owned()))
}

/// Returns the position of a client.
pub(super) fn position(tables: &ArrayOfTables, name: &str) -> Result<usize, EditError> {
    let is_named = |table: &Table| table.get("name").and_then(Item::as_str) == Some(name);
    let found = tables.iter().position(is_named);
    found.ok_or_else(|| EditError::Unknown(name.to_owned()))
}
