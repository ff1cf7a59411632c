//! Files that only this user can read or write, replaced as a whole.
//!
//! Snapshots and journals hold metadata of private images, and what they say is trusted at the next start. So they
//! are read only when no other user can have written them, and a crash leaves the old file or the new one, never
//! half of either.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Reason why a file is not trusted or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The file does not exist.
    #[error("there is none")]
    Missing,
    /// A folder, pipe or other kind of file.
    #[error("it is not a regular file")]
    NotAFile,
    /// Mode bits that let others read or change the file.
    #[error("its mode {0:04o} lets others read or change it; it must be 0600")]
    Mode(u32),
    /// Id of another user that owns the file.
    #[error("it belongs to user {0}, not to the one this program runs as")]
    Owner(u32),
    /// Length in bytes, beyond the limit.
    #[error("it has {0} bytes, more than the program can have written")]
    TooLong(u64),
    /// Error of the file system.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
}

/// Reads a file that only this user can have written, of at most `limit` bytes.
///
/// # Errors
/// [`PrivateFileError`] for any other file. The open file is checked rather than its name, so that nobody can swap
/// it between the check and the read.
pub fn read_private(path: &Path, limit: u64) -> Result<Vec<u8>, PrivateFileError> {
    // Opening a pipe would wait for its other end, so anything but a regular file is not opened at all.
    let named = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PrivateFileError::Missing,
        _ => PrivateFileError::Io(error),
    })?;
    if !named.is_file() {
        return Err(PrivateFileError::NotAFile);
    }
    let file = File::open(path).map_err(PrivateFileError::Io)?;
    check(&file.metadata().map_err(PrivateFileError::Io)?, limit)?;
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(PrivateFileError::Io)?;
    Ok(bytes)
}

fn check(metadata: &Metadata, limit: u64) -> Result<(), PrivateFileError> {
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

/// New content of a file, written beside the one that it is to replace. Dropped before [`persist`](Self::persist),
/// it is removed.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    draft: Option<PathBuf>,
    file: File,
}

impl AtomicFile {
    /// Writes the content to a file of mode 0600 beside `target`, and syncs it to disk.
    ///
    /// # Errors
    /// Those of the file system, or of `content`; the target is untouched.
    pub fn write(
        target: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        let path = beside(target, ".draft");
        // Left by a process that was killed. Created as a new file rather than truncated, since it may have any mode and any
        // owner.
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

    /// Gives the new content the mode, owner and group of its target, or this mode where there is no target yet: for a
    /// file that other users read.
    ///
    /// # Errors
    /// An owner or a group that this user may not give.
    pub fn with_access_of_target(self, mode: u32) -> io::Result<Self> {
        match fs::symlink_metadata(&self.target) {
            Ok(target) => copy_access(&self.file, &target)?,
            Err(_) => self.file.set_permissions(Permissions::from_mode(mode))?,
        }
        Ok(self)
    }

    /// Renames the file over its target and syncs the folder, so that the rename survives a power failure. Returns
    /// the file, open for appending to it.
    ///
    /// # Errors
    /// A target that is not a regular file, or a failure of the file system.
    pub fn persist(mut self) -> io::Result<File> {
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
            // Should this fail, the next write removes it.
            drop(fs::remove_file(draft));
        }
    }
}

/// Gives a file the mode, owner and group of another one.
///
/// # Errors
/// An owner or a group that this user may not give.
pub fn copy_access(file: &File, like: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (like.uid(), like.gid()) != (own.uid(), own.gid()) {
        fchown(file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))
}

/// Removes a file and syncs its folder, so that it does not come back after a power failure. A missing file is a
/// success.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| File::open(folder(path))?.sync_all()),
    }
}

/// Appends a suffix to a path, after any extension: `cache.snapshot` becomes `cache.snapshot.journal`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns the folder of a file; `.` for a bare name.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
