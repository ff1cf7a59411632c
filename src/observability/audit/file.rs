//! The file that audit records are appended to, reopened after a log rotation.

use std::fs::{File, Metadata, OpenOptions, metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::observability::logging::{LineSink, WritePosition};

/// A file that is reopened when log rotation has moved it away or put another in its place; checked for each batch.
pub(super) struct AppendFile {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl AppendFile {
    /// Opens the file for appending, or creates it with mode 0600: records name clients and images.
    pub(super) fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Ok(Self {
            path: path.to_owned(),
            file: append_to(path)?,
            is_new: true,
        })
    }

    fn is_moved(&self) -> bool {
        let same = |there: Metadata, open: Metadata| {
            (there.dev(), there.ino()) == (open.dev(), open.ino())
        };
        match (metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(open)) => !same(there, open),
            (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => false,
        }
    }
}

/// Readable too, so that an end without a line's end is seen, and a FIFO without a reader opens at once.
fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path)
}

/// Returns true for a file that ends within a line, because its writer ran out of disk or was killed.
fn ends_within_a_line(file: &mut File) -> bool {
    let is_empty = |metadata: Metadata| !metadata.is_file() || metadata.len() == 0;
    if file.metadata().map_or(true, is_empty) {
        return false;
    }
    let mut last = [b'\n'];
    let read = file
        .seek(SeekFrom::End(-1))
        .and_then(|_| file.read_exact(&mut last));
    read.is_ok() && last != [b'\n']
}

impl Write for AppendFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl LineSink for AppendFile {
    fn prepare(&mut self) -> io::Result<WritePosition> {
        if self.is_moved() {
            (self.file, self.is_new) = (append_to(&self.path)?, true);
        }
        Ok(if !std::mem::replace(&mut self.is_new, false) {
            WritePosition::Unchanged
        } else if ends_within_a_line(&mut self.file) {
            WritePosition::MidLine
        } else {
            WritePosition::LineStart
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn written(file: &mut AppendFile, line: &str) -> WritePosition {
        let position = file.prepare().unwrap();
        file.write_all(line.as_bytes()).unwrap();
        position
    }

    #[test]
    fn a_rotated_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit"), folder.path().join("old"));
        let mut file = AppendFile::open(&path).unwrap();
        assert_eq!(written(&mut file, "1\n"), WritePosition::LineStart);
        assert_eq!(written(&mut file, "2\n"), WritePosition::Unchanged);
        fs::rename(&path, &old).unwrap();
        assert_eq!(written(&mut file, "3\n"), WritePosition::LineStart);
        fs::rename(&path, &old).unwrap();
        fs::write(&path, "").unwrap();
        written(&mut file, "4\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "4\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), "3\n");
    }

    #[test]
    fn a_line_left_torn_by_an_earlier_process_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        for (held, position) in [
            ("", WritePosition::LineStart),
            ("{}\n", WritePosition::LineStart),
            ("{}\n{\"timest", WritePosition::MidLine),
        ] {
            fs::write(&path, held).unwrap();
            let mut file = AppendFile::open(&path).unwrap();
            assert_eq!(file.prepare().unwrap(), position, "{held}");
        }
    }
}
