//! Response bodies: whole in memory, or streamed line by line as results arrive.

mod budget;

pub use budget::{Budget, Charge, SMALL};

use std::any::Any;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Body of a response.
#[derive(Debug)]
pub enum Body {
    /// Whole in memory.
    Whole(Full<Bytes>),
    /// Whole in memory, with its charge against the budget.
    Charged(Full<Bytes>, Charge),
    /// Streamed line by line.
    Lines(LineStream),
}

/// Reading end of a streamed body. Dropping it closes its [`LineWriter`].
#[derive(Debug)]
pub struct LineStream {
    lines: Receiver<LineFrame>,
    is_whole: bool,
    retained: Retained,
}

/// Writing end of a streamed body, which waits while the client does not read. If it is dropped without
/// [`LineWriter::finish`], the body aborts, so that no client takes a part for the whole.
#[derive(Debug)]
pub struct LineWriter {
    lines: Sender<LineFrame>,
    retained: Retained,
}

/// Error of writing to a body whose reading end was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderGone;

/// Error of a body that ended before its last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub struct BodyAborted;

#[derive(Debug)]
enum LineFrame {
    Next(Bytes),
    Last(Bytes),
}

/// Value that is kept alive until the last line is written, such as a permit.
#[derive(Debug, Clone)]
struct Retained(Arc<Mutex<RetainedState>>);

#[derive(Debug)]
enum RetainedState {
    Pending(Option<Box<dyn Any + Send>>),
    Finished,
}

/// Number of lines that can wait to be sent; the writer of a further one waits.
const QUEUED_LINES: usize = 16;

/// Body with its media type, to put into a response.
#[must_use]
pub fn line_stream() -> (LineWriter, LineStream) {
    let (sender, receiver) = channel(QUEUED_LINES);
    let retained = Retained(Arc::new(Mutex::new(RetainedState::Pending(None))));
    let writer = LineWriter {
        lines: sender,
        retained: retained.clone(),
    };
    let lines = LineStream {
        lines: receiver,
        is_whole: false,
        retained,
    };
    (writer, lines)
}

impl Body {
    /// Returns the media type of the body.
    #[must_use]
    pub const fn content_type(&self) -> HeaderValue {
        match self {
            Self::Whole(_) | Self::Charged(..) => HeaderValue::from_static("application/json"),
            Self::Lines(_) => HeaderValue::from_static(NDJSON),
        }
    }

    /// Returns a body with the charge that was already taken for it.
    #[must_use]
    pub fn charged(whole: Bytes, charge: Charge) -> Self {
        Self::Charged(Full::new(whole), charge)
    }

    /// Returns the length of a body that is large and has not been charged.
    #[must_use]
    pub fn uncharged(&self) -> Option<usize> {
        let Self::Whole(whole) = self else {
            return None;
        };
        let length = usize::try_from(whole.size_hint().upper()?).ok()?;
        (length > SMALL).then_some(length)
    }

    /// Charges a body that is in memory and has not been charged.
    pub fn charge(&mut self, charge: Charge) {
        let empty = Self::Whole(Full::default());
        *self = match mem::replace(self, empty) {
            Self::Whole(whole) => Self::Charged(whole, charge),
            other => other,
        };
    }

    /// Removes the charge and returns it, for the task that sends the body.
    pub fn take_charge(&mut self) -> Option<Charge> {
        let empty = Self::Whole(Full::default());
        match mem::replace(self, empty) {
            Self::Charged(whole, charge) => {
                *self = Self::Whole(whole);
                Some(charge)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

/// Media type of newline-delimited JSON.
pub const NDJSON: &str = "application/x-ndjson";

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        Self::Whole(Full::new(whole))
    }
}

impl From<Vec<u8>> for Body {
    fn from(whole: Vec<u8>) -> Self {
        Self::Whole(Full::from(whole))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyAborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        match self.get_mut() {
            Self::Whole(whole) | Self::Charged(whole, _) => Pin::new(whole)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Lines(lines) => lines.poll_line(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) | Self::Charged(whole, _) => whole.is_end_stream(),
            Self::Lines(lines) => lines.is_whole,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) | Self::Charged(whole, _) => whole.size_hint(),
            Self::Lines(_) => SizeHint::default(),
        }
    }
}

impl LineStream {
    /// Keeps a value alive until the last line is written or the stream is dropped.
    pub fn retain(&self, retained: impl Any + Send) {
        if let RetainedState::Pending(slot) = &mut *self.retained.0.lock() {
            *slot = Some(Box::new(retained));
        }
    }

    fn poll_line(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        if self.is_whole {
            return Poll::Ready(None);
        }
        let line = match ready!(self.lines.poll_recv(context)) {
            Some(LineFrame::Next(line)) => line,
            Some(LineFrame::Last(line)) => {
                self.is_whole = true;
                line
            }
            None => return Poll::Ready(Some(Err(BodyAborted))),
        };
        Poll::Ready(Some(Ok(Frame::data(line))))
    }
}

impl LineWriter {
    /// Sends a line, as soon as there is room for it.
    ///
    /// # Errors
    /// [`ReaderGone`] if the stream was dropped.
    pub async fn write(&self, line: Bytes) -> Result<(), ReaderGone> {
        let sent = self.lines.send(LineFrame::Next(line)).await;
        sent.map_err(|_| ReaderGone)
    }

    /// Drops the retained value, and sends the last line.
    ///
    /// # Errors
    /// [`ReaderGone`] if the stream was dropped.
    pub async fn finish(self, line: Bytes) -> Result<(), ReaderGone> {
        self.retained.release();
        let sent = self.lines.send(LineFrame::Last(line)).await;
        sent.map_err(|_| ReaderGone)
    }

    /// Waits until the stream is dropped.
    pub async fn closed(&self) {
        self.lines.closed().await;
    }
}

impl Retained {
    fn release(&self) {
        let slot = mem::replace(&mut *self.0.lock(), RetainedState::Finished);
        // Dropped outside the lock, because its own drop may do anything.
        drop(slot);
    }
}

impl Drop for LineStream {
    fn drop(&mut self) {
        self.retained.release();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.retained.release();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt, poll};
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn lines_come_in_turn_and_the_last_ends_them() {
        let (writer, lines) = line_stream();
        let mut body = Body::Lines(lines);
        writer.write("a\n".into()).await.unwrap();
        assert!(!body.is_end_stream());
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "a\n"
        );
        writer.finish("b\n".into()).await.unwrap();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "b\n"
        );
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_writer_that_stops_halfway_breaks_the_body_off() {
        let (writer, lines) = line_stream();
        writer.write("a\n".into()).await.unwrap();
        drop(writer);
        let collected = Body::Lines(lines).collect().await;
        assert_eq!(collected.err(), Some(BodyAborted));
    }

    #[tokio::test]
    async fn a_writer_waits_for_the_reader_and_fails_without_one() {
        let (writer, lines) = line_stream();
        for _ in 0..QUEUED_LINES {
            writer.write("a\n".into()).await.unwrap();
        }
        {
            let mut full = pin!(writer.write("a\n".into()));
            assert!(poll!(&mut full).is_pending());
            drop(lines);
            assert_eq!(full.await, Err(ReaderGone));
        }
        assert!(writer.closed().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_retained_value_is_dropped_before_the_last_line() {
        let held = Arc::new(());
        let (writer, lines) = line_stream();
        lines.retain(Arc::clone(&held));
        assert_eq!(Arc::strong_count(&held), 2);
        writer.finish("a\n".into()).await.unwrap();
        assert_eq!(Arc::strong_count(&held), 1);
        // After the last line, a value is dropped at once.
        lines.retain(Arc::clone(&held));
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_whole_body_says_its_length() {
        let body = Body::from(b"abc".to_vec());
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(Body::from(Bytes::new()).is_end_stream());
    }
}
