//! Files that are this user's alone, and are there whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateFileError {
    #[error("there is none")]
    Missing,
    #[error("it is not a regular file")]
    NotAFile,
    #[error("its mode {0:04o} lets others read or change it; it must be 0600")]
    Mode(u32),
    #[error("it belongs to user {0}, not to the one this program runs as")]
    Owner(u32),
    #[error("it has {0} bytes, more than the program can have written")]
    TooLong(u64),
    #[error("it cannot be read: {0}")]
    Io(io::Error),
}

/// Reads a file that only this user can have written, up to `limit` bytes.
///
/// # Errors
/// [`PrivateFileError`] for any other file; what is judged is the open file, not its name.
pub(crate) fn read_private(path: &Path, limit: u64) -> Result<Vec<u8>, PrivateFileError> {
    // Opening a pipe would wait for its other end, so what is no file is not opened at all.
    let named = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PrivateFileError::Missing,
        _ => PrivateFileError::Io(error),
    })?;
    if !named.is_file() {
        return Err(PrivateFileError::NotAFile);
    }
    let file = File::open(path).map_err(PrivateFileError::Io)?;
    judge(&file.metadata().map_err(PrivateFileError::Io)?, limit)?;
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(PrivateFileError::Io)?;
    Ok(bytes)
}

fn judge(metadata: &Metadata, limit: u64) -> Result<(), PrivateFileError> {
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        Err(PrivateFileError::NotAFile)
    } else if mode & 0o077 != 0 {
        Err(PrivateFileError::Mode(mode))
    } else if metadata.uid() != geteuid().as_raw() {
        Err(PrivateFileError::Owner(metadata.uid()))
    } else if metadata.len() > limit {
        Err(PrivateFileError::TooLong(metadata.len()))
    } else {
        Ok(())
    }
}

/// A whole file beside the one it is to replace. Dropping it unplaced removes it.
pub(crate) struct AtomicFile {
    target: PathBuf,
    draft: Option<PathBuf>,
    file: File,
}

impl AtomicFile {
    /// Writes a draft, mode 0600, down to the disk.
    pub(crate) fn write(
        target: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        let path = beside(target, ".draft");
        // A draft of a process that was killed; it may have any mode.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let draft = Self {
            target: target.to_owned(),
            draft: Some(path),
            file,
        };
        let mut out = io::BufWriter::with_capacity(1 << 20, &draft.file);
        content(&mut out)?;
        out.flush()?;
        drop(out);
        draft.file.sync_all()?;
        Ok(draft)
    }

    /// Puts it in the place of its target, for good, and returns the file, open for writing.
    pub(crate) fn persist(mut self) -> io::Result<File> {
        let replaced = fs::symlink_metadata(&self.target);
        if replaced.is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::other("what is there is not a regular file"));
        }
        let file = self.file.try_clone()?;
        if let Some(draft) = self.draft.as_ref() {
            fs::rename(draft, &self.target)?;
        }
        self.draft = None;
        File::open(folder(&self.target))?.sync_all()?;
        Ok(file)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            // The next draft removes it otherwise.
            drop(fs::remove_file(draft));
        }
    }
}

/// Removes a file for good; that it is not there is as well.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| File::open(folder(path))?.sync_all()),
    }
}

/// A file's name with something after it.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The folder a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
