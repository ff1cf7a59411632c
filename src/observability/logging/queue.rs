//! A bounded queue of lines in front of an output, with a thread of its own that writes them.
//!
//! A caller copies its line into the queue and continues: no request ever waits for the reader of a log or for a disk.
//! The thread takes everything that is queued at once and writes it as one batch. Lines that find no room are
//! dropped and counted, as are those that the output did not take whole.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::sink::{LineSink, PartialWrite, SinkWriter, count};

/// Result of one batch, for the callback of [`LineQueue::start`].
#[derive(Debug)]
pub struct BatchReport {
    /// The error of the output that ended the batch early.
    pub result: io::Result<()>,
    /// Lines of this batch that are missing from the output, or torn in it.
    pub lost: u64,
    /// Lines lost since the start, for want of room in the queue or by an error of the output.
    pub lost_total: u64,
}

/// Handle to the queue of one output. Clones share the queue; its thread ends after the last of them is dropped.
#[derive(Debug, Clone)]
pub struct LineQueue(Arc<Owner>);

/// Closes the queue when the last handle is dropped, while the thread still holds the buffer.
#[derive(Debug)]
struct Owner(Arc<SharedBuffer>);

/// Buffer between the callers and the writing thread.
#[derive(Debug)]
struct SharedBuffer {
    max_bytes: usize,
    state: Mutex<BufferState>,
    /// Signalled when the buffer has text, or is closed.
    filled: Condvar,
    /// Signalled when every line was written or lost; [`LineQueue::flush`] waits for it.
    emptied: Condvar,
    lost: AtomicU64,
    /// The writing thread. Its own lines, of which the callback makes few, always find room.
    writer: OnceLock<ThreadId>,
}

#[derive(Debug, Default)]
struct BufferState {
    text: Vec<u8>,
    /// The thread has taken a batch and not finished it, so an empty `text` does not mean that all is written.
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
    /// Starts the thread under this name. At most `max_bytes` are queued, beside the batch that is being written.
    /// After each batch the thread calls `report`, which may push lines itself.
    ///
    /// # Errors
    /// An operating system that refuses another thread.
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

    /// Queues one line or several, each with its end. Without room for all of them, counts them as lost and returns
    /// `false`. Never blocks for longer than another caller's copy.
    pub fn push(&self, lines: &[u8]) -> bool {
        let queue = &self.0.0;
        let mut state = queue.state.lock();
        if state.text.len() + lines.len() > queue.max_bytes && !queue.is_writer() {
            drop(state);
            queue.lose(count(lines));
            return false;
        }
        state.text.extend_from_slice(lines);
        // Not under the lock: the thread would wake up only to wait for it.
        drop(state);
        queue.filled.notify_one();
        true
    }

    /// Returns the number of lines lost since the start, for want of room or by an error of the output.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.0.lost.load(Ordering::Relaxed)
    }

    /// Blocks until every queued line is written or lost, at most for `timeout`.
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

    /// Returns true on the writing thread: the queue may be full again while it reports that lines were lost.
    fn is_writer(&self) -> bool {
        self.writer.get() == Some(&thread::current().id())
    }

    /// Writes batch after batch, until the last handle is dropped and everything is written.
    fn write_all(&self, output: impl LineSink, mut report: impl FnMut(BatchReport)) {
        self.writer.get_or_init(|| thread::current().id());
        let mut writer = SinkWriter::new(output);
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

    /// Waits for the next batch and swaps it into `batch`; returns `false` once the queue is closed and empty.
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
        // The two buffers trade places for ever, so that a busy queue does not allocate.
        std::mem::swap(&mut state.text, batch);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// An output that blocks until the test sends to it.
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
    fn a_push_does_not_wait_for_an_output_that_takes_nothing() {
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
        let (sender, written) = channel();
        let lines = LineQueue::start("slow", 100, Slow(0, sender), |_| {}).unwrap();
        lines.push(b"ab\n");
        let written: Vec<_> = written.iter().take(3).collect();
        assert_eq!((written.as_slice(), lines.lost()), (b"ab\n".as_slice(), 0));
    }
}
