//! Reads of small files with a time limit, so that hanging storage (a dead NFS mount, a pipe) blocks no caller.
//!
//! Each read runs in a thread of its own, which is abandoned when it takes too long. While it hangs, no other read of
//! the same file begins, so each file occupies one thread at most.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

/// Reads a regular file of at most 16 MiB. Blocks the calling thread for at most two seconds.
///
/// # Errors
/// The file system's error; [`io::ErrorKind::TimedOut`] for a hanging read; another for a longer or irregular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_by(path, read_regular, DEADLINE)
}

/// Reads a regular file of at most 16 MiB as UTF-8, as [`read`] does.
///
/// # Errors
/// As [`read`], and [`io::ErrorKind::InvalidData`] for a file that is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let bytes = read(path)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn read_by(
    path: &Path,
    how: impl FnOnce(&Path) -> io::Result<Vec<u8>> + Send + 'static,
    deadline: Duration,
) -> io::Result<Vec<u8>> {
    let hangs = || io::Error::new(io::ErrorKind::TimedOut, "its storage does not answer");
    if stuck(&STUCK.lock(), path) {
        return Err(hangs());
    }
    let (done, reply) = sync_channel(1);
    let reading = path.to_owned();
    thread::Builder::new()
        .name("read".to_owned())
        .spawn(move || {
            let read = how(&reading);
            let mut stuck = STUCK.lock();
            // Sent under the lock that the caller takes after its time-out, so that it either receives the result or
            // finds the thread still running. The receiver is gone where the caller has given up.
            drop(done.send(read));
            if let Some(stuck) = &mut *stuck {
                stuck.remove(&reading);
            }
        })?;
    if let Ok(read) = reply.recv_timeout(deadline) {
        return read;
    }
    let mut stuck = STUCK.lock();
    // The thread sends its result under this lock. So a result that has not arrived by now means that the thread will
    // find the file on the list, and remove it.
    match reply.try_recv() {
        Ok(read) => read,
        Err(TryRecvError::Disconnected) => Err(hangs()),
        Err(TryRecvError::Empty) => {
            stuck.get_or_insert_default().insert(path.to_owned());
            Err(hangs())
        }
    }
}

fn stuck(files: &Option<HashSet<PathBuf>>, path: &Path) -> bool {
    files.as_ref().is_some_and(|files| files.contains(path))
}

fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other("it is longer than 16 MiB"));
    }
    Ok(bytes)
}

/// Files whose reads hang. It is global because it bounds the threads of the whole process.
static STUCK: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
const DEADLINE: Duration = Duration::from_secs(2);
const LIMIT: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_pipe_and_a_folder_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        for path in [pipe.as_path(), folder.path()] {
            let error = read(path).unwrap_err();
            assert!(error.to_string().contains("regular"), "{error}");
        }
    }

    #[test]
    fn a_read_that_hangs_is_given_up_and_no_second_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        let (release, held) = sync_channel::<()>(0);
        let (ended, end) = sync_channel::<()>(1);
        let hang = move |path: &Path| {
            held.recv().unwrap_err();
            let read = fs::read(path);
            ended.send(()).unwrap();
            read
        };
        let hung = read_by(&path, hang, Duration::from_millis(10)).unwrap_err();
        assert_eq!(hung.kind(), io::ErrorKind::TimedOut);
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let other = folder.path().join("other");
        fs::write(&other, "other").unwrap();
        assert_eq!(read(&other).unwrap(), b"other");
        drop(release);
        end.recv().unwrap();
        // The thread takes the file off its list a moment later.
        while read(&path).is_err() {
            thread::yield_now();
        }
        assert_eq!(read_to_string(&path).unwrap(), "text");
    }
}
