//! What is known of the connection that a request went over.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::{Extensions, Request};
use hyper_util::client::legacy::connect::{
    CaptureConnection, Connected, Connection as Connect, capture_connection,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::ResponseHead;

/// A byte stream to another host, encrypted or not.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Handle to the connection that a request went over; empty where there was none.
#[derive(Clone, Default)]
pub struct Connection(Option<CaptureConnection>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.progress()).finish()
    }
}

impl Connection {
    /// Handle that is filled in once the request has a connection.
    pub(super) fn capture<B>(request: &mut Request<B>) -> Self {
        Self(Some(capture_connection(request)))
    }

    /// Keeps the connection from carrying another request: the next answer on it may belong to another request
    /// too. A request that is already on its way over it is not disturbed.
    pub fn discard(&self) {
        let Some(captured) = &self.0 else { return };
        if let Some(connected) = captured.connection_metadata().as_ref() {
            connected.poison();
        }
    }

    /// Whether earlier requests on this connection were answered and the latest one has not brought a byte.
    pub(super) fn is_reused_and_silent(&self) -> bool {
        self.progress()
            .is_some_and(|progress| progress.answers() > 0 && progress.is_silent())
    }

    /// Answers that have begun to come over this connection; none where there is no connection.
    pub(super) fn answers(&self) -> u32 {
        self.progress().map_or(0, |progress| progress.answers())
    }

    fn progress(&self) -> Option<Arc<ConnectionProgress>> {
        let captured = self.0.as_ref()?;
        let connected = captured.connection_metadata();
        let mut extras = Extensions::new();
        connected.as_ref()?.get_extras(&mut extras);
        extras.remove::<Arc<ConnectionProgress>>()
    }
}

/// What has passed over a connection. A byte that is read after one was written begins an answer.
#[derive(Debug, Default)]
pub(super) struct ConnectionProgress {
    answers: AtomicU32,
    is_silent: AtomicBool,
}

impl ConnectionProgress {
    fn answers(&self) -> u32 {
        self.answers.load(Ordering::Relaxed)
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    fn wrote(&self, bytes: usize) {
        if bytes > 0 {
            self.is_silent.store(true, Ordering::Relaxed);
        }
    }

    fn read(&self, bytes: usize) -> ResponsePart {
        if bytes > 0 && self.is_silent.swap(false, Ordering::Relaxed) {
            self.answers.fetch_add(1, Ordering::Relaxed);
            ResponsePart::Head
        } else {
            ResponsePart::Rest
        }
    }
}

/// What a read brings of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponsePart {
    /// Its first bytes.
    Head,
    /// Later ones.
    Rest,
}

/// A stream that records its [`ConnectionProgress`].
pub(super) struct RecordedStream {
    stream: Box<dyn ByteStream>,
    progress: Arc<ConnectionProgress>,
    /// The answer that is coming, up to the end of its head.
    head: ResponseHead,
}

impl RecordedStream {
    pub(super) fn new(stream: impl ByteStream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            progress: Arc::default(),
            head: ResponseHead::default(),
        }
    }
}

impl Connect for RecordedStream {
    fn connected(&self) -> Connected {
        Connected::new().extra(Arc::clone(&self.progress))
    }
}

impl AsyncRead for RecordedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let bytes = &buffer.filled()[before..];
        // An interim answer may come while the request is still being written.
        if self.progress.read(bytes.len()) == ResponsePart::Head && self.head.is_complete() {
            self.head = ResponseHead::default();
        }
        if let Err(bad) = self.head.read(bytes) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, bad)));
        }
        read
    }
}

impl AsyncWrite for RecordedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = &written {
            self.progress.wrote(*written);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(written)) = &written {
            self.progress.wrote(*written);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
