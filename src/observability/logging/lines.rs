//! LineQueue written by a thread of their own, through a bounded queue that loses what does not fit.
//!
//! Whoever has a line copies it into the queue and goes on: nothing in the gateway waits for a reader of its log. The
//! thread takes the whole queue and writes it. After an error in the middle of a line the next one begins on a line
//! of its own; lines that were not written whole are counted as lost.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Pause before an output that takes nothing now, as a non-blocking pipe, is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Takes bytes; the thread alone waits for it.
pub trait LineSink: io::Write + Send + 'static {
    /// Makes ready for the next lines, and returns where they will begin.
    ///
    /// # Errors
    /// When nothing can be written now.
    fn prepare(&mut self) -> io::Result<WritePosition> {
        Ok(WritePosition::Unchanged)
    }
}

/// The place at which an output goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WritePosition {
    /// Behind what was written last.
    Unchanged,
    /// At the beginning of a line.
    LineStart,
    /// Behind a line that somebody left incomplete.
    MidLine,
}

impl LineSink for io::Stderr {}
impl LineSink for std::fs::File {}

/// How one batch was written.
#[derive(Debug)]
pub struct BatchReport {
    /// The error that ended it.
    pub result: io::Result<()>,
    /// LineQueue of it that are lost.
    pub lost: u64,
    /// LineQueue lost so far, for want of room or by an error.
    pub lost_total: u64,
}

/// The queue in front of one output. Its clones share it; the thread ends with the last of them.
#[derive(Debug, Clone)]
pub struct LineQueue(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<SharedBuffer>);

#[derive(Debug)]
struct SharedBuffer {
    max_bytes: usize,
    state: Mutex<BufferState>,
    /// There is something to write, or nobody left who could add to it.
    filled: Condvar,
    /// Everything was written or lost.
    emptied: Condvar,
    lost: AtomicU64,
    /// The thread that writes. Its own lines, of which `report` makes few, always find room.
    writer: OnceLock<ThreadId>,
}

#[derive(Debug, Default)]
struct BufferState {
    text: Vec<u8>,
    is_writing: bool,
    is_closed: bool,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.state.lock().is_closed = true;
        self.0.filled.notify_one();
    }
}

impl LineQueue {
    /// Starts the thread. At most `max_bytes` wait beside those being written. After each batch the thread calls
    /// `report`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(
        name: &str,
        max_bytes: usize,
        output: impl LineSink,
        report: impl FnMut(BatchReport) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(SharedBuffer {
            max_bytes,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            lost: AtomicU64::new(0),
            writer: OnceLock::new(),
        });
        let thread = Arc::clone(&queue);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || thread.write_all(output, report))?;
        Ok(Self(Arc::new(Owner(queue))))
    }

    /// Adds one line or several, each with its end, or counts them as lost where there is no room: `false`.
    pub fn push(&self, lines: &[u8]) -> bool {
        let queue = &self.0.0;
        let mut state = queue.state.lock();
        if state.text.len() + lines.len() > queue.max_bytes && !queue.is_writer() {
            drop(state);
            queue.lose(count(lines));
            return false;
        }
        state.text.extend_from_slice(lines);
        drop(state);
        queue.filled.notify_one();
        true
    }

    /// LineQueue lost so far, for want of room or by an error.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.0.lost.load(Ordering::Relaxed)
    }

    /// Blocks until everything is written, at most for `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let (queue, until) = (&self.0.0, Instant::now() + timeout);
        let mut state = queue.state.lock();
        while state.is_writing || !state.text.is_empty() {
            if queue.emptied.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }
}

impl SharedBuffer {
    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }

    /// Whether the thread that writes calls: the queue may be full again while it reports that lines were lost.
    fn is_writer(&self) -> bool {
        self.writer.get() == Some(&thread::current().id())
    }

    fn write_all(&self, output: impl LineSink, mut report: impl FnMut(BatchReport)) {
        self.writer.get_or_init(|| thread::current().id());
        let mut writer = SinkWriter {
            output,
            is_torn: false,
        };
        let mut batch = Vec::new();
        while self.take(&mut batch) {
            let (result, lost) = match writer.write(&batch) {
                Ok(()) => (Ok(()), 0),
                Err(PartialWrite { lost, error }) => (Err(error), lost),
            };
            self.lose(lost);
            batch.clear();
            report(BatchReport {
                result,
                lost,
                lost_total: self.lost.load(Ordering::Relaxed),
            });
        }
    }

    /// Waits for the next batch; `false` once nobody can add to the queue any more.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self.state.lock();
        state.is_writing = false;
        if state.text.is_empty() {
            self.emptied.notify_all();
        }
        while state.text.is_empty() {
            if state.is_closed {
                return false;
            }
            self.filled.wait(&mut state);
        }
        state.is_writing = true;
        std::mem::swap(&mut state.text, batch);
        true
    }
}

/// An output, and whether what was written last ends within a line.
struct SinkWriter<O> {
    output: O,
    is_torn: bool,
}

/// The output failed before all was written.
#[derive(Debug)]
struct PartialWrite {
    /// LineQueue that are not there whole.
    lost: u64,
    error: io::Error,
}

impl<O: LineSink> SinkWriter<O> {
    fn write(&mut self, lines: &[u8]) -> Result<(), PartialWrite> {
        let nothing = |error| PartialWrite {
            lost: count(lines),
            error,
        };
        match self.output.prepare().map_err(nothing)? {
            WritePosition::Unchanged => {}
            WritePosition::LineStart => self.is_torn = false,
            WritePosition::MidLine => self.is_torn = true,
        }
        if self.is_torn {
            self.write_bytes(b"\n")
                .map_err(|(_, error)| nothing(error))?;
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

    /// Writes all, or tells how much was written before the error.
    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::park_timeout(FULL_PAUSE);
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

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
        fn a_line_is_there_whole_and_alone_or_is_counted_as_lost(
            batches in prop::collection::vec(prop::collection::vec(0_usize..20, 1..5), 1..10),
            room in prop::collection::vec(0_usize..60, 0..10),
        ) {
            let mut writer = SinkWriter { output: Disk { held: Vec::new(), room }, is_torn: false };
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

    /// An output that takes nothing until it is told to.
    struct Stuck(Receiver<()>);

    impl io::Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl LineSink for Stuck {}

    fn stuck(max_bytes: usize) -> (Sender<()>, LineQueue) {
        let (go, wait) = channel();
        let lines = LineQueue::start("stuck", max_bytes, Stuck(wait), |_| {}).unwrap();
        (go, lines)
    }

    #[test]
    fn who_has_a_line_does_not_wait_for_an_output_that_takes_none() {
        let (go, lines) = stuck(100);
        for _ in 0..1000 {
            lines.push(b"123456789\n");
        }
        assert!(lines.lost() >= 1000 - 20, "{}", lines.lost());
        lines.flush(Duration::from_millis(10));
        drop(go);
        lines.flush(Duration::from_secs(60));
        assert!(lines.0.0.state.lock().text.is_empty());
        assert!(lines.lost() <= 1000 - 10, "{}", lines.lost());
    }

    #[test]
    fn the_report_of_lost_lines_finds_room_in_a_full_queue() {
        let (go, wait) = channel();
        let (sender, reported) = channel();
        let queue = Arc::new(OnceLock::<LineQueue>::new());
        let own = Arc::clone(&queue);
        let report = move |written: BatchReport| {
            if let Some(lines) = own.get() {
                let found_room = lines.push(b"lines were lost\n");
                sender.send((written.lost_total > 0, found_room)).unwrap();
            }
        };
        let lines =
            queue.get_or_init(|| LineQueue::start("stuck", 100, Stuck(wait), report).unwrap());
        lines.push(b"123456789\n");
        while !lines.0.0.state.lock().is_writing || lines.push(b"123456789\n") {}
        assert!(!lines.push(b"123456789\n"), "the queue is full");
        go.send(()).unwrap();
        assert_eq!(reported.recv().unwrap(), (true, true));
    }

    #[test]
    fn an_output_that_would_block_is_tried_again() {
        struct Slow(u32, Sender<u8>);
        impl io::Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 % 2 == 1 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.1.send(bytes[0]).unwrap();
                Ok(1)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl LineSink for Slow {}
        let (sender, heard) = channel();
        let lines = LineQueue::start("slow", 100, Slow(0, sender), |_| {}).unwrap();
        lines.push(b"ab\n");
        let heard: Vec<_> = heard.iter().take(3).collect();
        assert_eq!((heard.as_slice(), lines.lost()), (b"ab\n".as_slice(), 0));
    }
}
