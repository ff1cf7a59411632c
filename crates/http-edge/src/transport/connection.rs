//! The connection that a request was sent on, and the bytes that have passed over it.
//!
//! The pool does not tell whether a failed request met a connection that the server had closed while idle. This module
//! observes the bytes to find out, because only such a request may be sent again.

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

/// Byte stream to another host, with or without TLS.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Handle to the connection that a request was sent on; empty where none was opened.
#[derive(Clone, Default)]
pub struct Connection(Option<CaptureConnection>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.progress()).finish()
    }
}

impl Connection {
    /// Creates a handle that is filled in once the pool assigns the request a connection.
    pub(super) fn capture<B>(request: &mut Request<B>) -> Self {
        Self(Some(capture_connection(request)))
    }

    /// Keeps the connection from carrying another request, for when the next response on it may belong to another
    /// request too. A request that is already under way on it is not disturbed.
    pub fn discard(&self) {
        let Some(captured) = &self.0 else { return };
        if let Some(connected) = captured.connection_metadata().as_ref() {
            connected.poison();
        }
    }

    /// Returns whether the connection has carried a response before, and no byte since the latest request.
    pub(super) fn is_reused_and_silent(&self) -> bool {
        self.progress()
            .is_some_and(|progress| progress.answers() > 0 && progress.is_silent())
    }

    /// Returns the number of responses that have begun on this connection; 0 where there is no connection.
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

/// Traffic of a connection. A byte that is read after one was written begins a response.
///
/// One task writes it; the loads of another are relaxed, because they follow the end of the exchange.
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

/// Part of a response that a read returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponsePart {
    /// First bytes of a response.
    Head,
    /// Later bytes.
    Rest,
}

/// Stream that records its [`ConnectionProgress`] and checks the head of each response.
pub(super) struct RecordedStream {
    stream: Box<dyn ByteStream>,
    progress: Arc<ConnectionProgress>,
    /// Head of the response that is being received.
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
        // A new response, unless the head is still incomplete: an interim response may arrive while the request is
        // being written, and the rest of its bytes then look like a new one.
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
