//! Outputs of a line queue, and the writer that keeps every line whole and alone on its line.
//!
//! An output may fail in the middle of a line: a full disk, a process that was killed. The writer then ends the torn
//! line before it writes the next one, and counts as lost each line of which not every byte was written. A reader
//! can thus parse the output line by line, and skip only the torn ones.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

/// Pause before the next attempt at an output that would block, such as a full non-blocking pipe.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Output of a [`super::LineQueue`]; only the queue's own thread calls it, so it may block.
pub trait LineSink: io::Write + Send + 'static {
    /// Prepares for the next batch, such as by reopening a rotated file, and returns where the batch will begin.
    ///
    /// # Errors
    /// An output that takes nothing at the moment; the whole batch is then lost.
    fn prepare(&mut self) -> io::Result<WritePosition> {
        Ok(WritePosition::Unchanged)
    }
}

/// Position at which the next batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WritePosition {
    /// Directly after the previous batch of this process.
    Unchanged,
    /// At the beginning of a line, as in an empty or newly opened file.
    LineStart,
    /// After a line without its end, left by an earlier process.
    MidLine,
}

impl LineSink for io::Stderr {}
impl LineSink for std::fs::File {}

/// Writer of batches of lines to one output.
pub(super) struct SinkWriter<O> {
    output: O,
    /// The last byte written was not a line's end, so the next batch must begin with one.
    is_torn: bool,
}

/// Failure of an output before the whole batch was written.
#[derive(Debug)]
pub(super) struct PartialWrite {
    /// Lines of the batch that are missing or torn.
    pub(super) lost: u64,
    pub(super) error: io::Error,
}

impl<O: LineSink> SinkWriter<O> {
    pub(super) const fn new(output: O) -> Self {
        Self {
            output,
            is_torn: false,
        }
    }

    /// Writes one batch of whole lines.
    ///
    /// # Errors
    /// [`PartialWrite`], after which the writer can be used again.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), PartialWrite> {
        let all_lost = |error| PartialWrite {
            lost: count(lines),
            error,
        };
        match self.output.prepare().map_err(all_lost)? {
            WritePosition::Unchanged => {}
            WritePosition::LineStart => self.is_torn = false,
            WritePosition::MidLine => self.is_torn = true,
        }
        if self.is_torn {
            self.write_bytes(b"\n")
                .map_err(|(_, error)| all_lost(error))?;
            self.is_torn = false;
        }
        self.write_bytes(lines).map_err(|(written, error)| {
            let whole = &lines[..written];
            self.is_torn = whole.last().is_some_and(|byte| *byte != b'\n');
            PartialWrite {
                lost: count(lines) - count(whole),
                error,
            }
        })
    }

    /// Writes every byte, or returns how many were written before the error.
    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Standard error may be a pipe that another process has made non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::park_timeout(FULL_PAUSE);
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

/// Counts the lines by their ends.
pub(super) fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A disk that takes so many bytes, and more after each call of `prepare`.
    struct Disk {
        held: Vec<u8>,
        room: Vec<usize>,
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.room.last_mut().map_or(usize::MAX, |room| {
                let taken = (*room).min(bytes.len());
                *room -= taken;
                taken
            });
            if room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = room.min(bytes.len());
            self.held.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl LineSink for Disk {
        fn prepare(&mut self) -> io::Result<WritePosition> {
            self.room.pop();
            Ok(WritePosition::Unchanged)
        }
    }

    proptest! {
        #[test]
        fn a_line_is_written_whole_and_alone_or_is_counted_as_lost(
            batches in prop::collection::vec(prop::collection::vec(0_usize..20, 1..5), 1..10),
            room in prop::collection::vec(0_usize..60, 0..10),
        ) {
            let mut writer = SinkWriter::new(Disk { held: Vec::new(), room });
            let (mut sent, mut lost) = (0, 0);
            for batch in batches {
                let lines: String = batch.iter().map(|length| format!("<{}>\n", "x".repeat(*length))).collect();
                sent += batch.len();
                if let Err(interrupted) = writer.write(lines.as_bytes()) {
                    lost += usize::try_from(interrupted.lost).unwrap();
                }
            }
            let held = String::from_utf8(writer.output.held).unwrap();
            let whole = held.split('\n').filter(|line| line.starts_with('<') && line.ends_with('>'));
            // A line of which all but its end was written is repaired later and counted as lost: never the other way.
            let whole = whole.count();
            prop_assert!(whole + lost >= sent, "{whole} and {lost} of {sent}: {held:?}");
            prop_assert!(!held.contains("><"), "{held:?}");
            prop_assert!(held.split('\n').all(|line| line.rfind('<').is_none_or(|at| at == 0)), "{held:?}");
        }
    }
}
