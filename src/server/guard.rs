//! A connection that does not wait for ever, and knows a TLS hello when it sees one.
//!
//! Between requests a connection may idle for long; once the first byte of a head is there, the rest
//! must follow soon. Both limits share one timer a connection, armed when a read finds nothing and
//! looked at only when it fires: a request that comes whole costs no timer at all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;

/// What a head ends with.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// First byte of a TLS record that carries a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Where a connection is between two requests; shared by its two ends, the socket and the service.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    had_body: AtomicBool,
}

impl Phase {
    /// A whole head has come, with or without a body to follow.
    pub(super) fn request_begins(&self, has_body: bool) {
        self.0.had_body.store(has_body, Ordering::Relaxed);
        self.0.phase.store(SERVING, Ordering::Relaxed);
    }

    /// Its answer is ready.
    pub(super) fn request_ends(&self) {
        self.0.phase.store(IDLE, Ordering::Relaxed);
    }

    /// Its answer is being made until this is dropped.
    pub(super) fn serving(&self) -> Serving {
        Serving(self.clone())
    }
}

/// An answer that is being made while it is sent.
#[derive(Debug)]
pub(super) struct Serving(Phase);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// A stream under both limits.
#[derive(Debug)]
pub(super) struct Guard<S> {
    stream: S,
    phase: Phase,
    untouched: bool,
    stalled: bool,
    tail: [u8; 4],
    since: Instant,
    head: Duration,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, head: Duration, idle: Duration) -> Self {
        Self {
            stream,
            phase: Phase::default(),
            untouched: true,
            stalled: false,
            tail: HEAD_END,
            since: Instant::now(),
            head,
            idle,
            timer: None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.clone()
    }

    /// Takes note of what was read; refuses a TLS hello.
    fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        let [first, ..] = bytes else { return Ok(()) };
        if std::mem::replace(&mut self.untouched, false) && *first == TLS_HANDSHAKE {
            tracing::warn!(
                "a client speaks TLS to this plain port: set protocol to \"http\" in its SDK's Config, or put TLS in front"
            );
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a TLS hello on a plain port",
            ));
        }
        let begins = match self.phase.0.phase.load(Ordering::Relaxed) {
            IDLE => {
                self.phase.0.phase.store(HEAD, Ordering::Relaxed);
                !self.holds_part_of_a_head()
            }
            // Pipelined: perhaps the next head's first bytes.
            SERVING => true,
            _ => false,
        };
        if begins {
            self.since = Instant::now();
        }
        let fresh = &bytes[bytes.len().saturating_sub(HEAD_END.len())..];
        self.tail.rotate_left(fresh.len());
        self.tail[HEAD_END.len() - fresh.len()..].copy_from_slice(fresh);
        Ok(())
    }

    /// Whether what was read ends within a head: a request without a body ends with an empty line.
    fn holds_part_of_a_head(&self) -> bool {
        self.tail != HEAD_END && !self.phase.0.had_body.load(Ordering::Relaxed)
    }

    /// A client that takes no answers is idle too: its time runs from the last byte it took.
    fn unless_stalled<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let was_stalled = std::mem::replace(&mut self.stalled, written.is_pending());
        if written.is_pending() {
            return self.poll_overdue(context).map(Err);
        }
        if was_stalled {
            self.since = Instant::now();
        }
        written
    }

    /// Nothing to read or to write: fails once the phase has lasted too long.
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let phase = self.phase.0.phase.load(Ordering::Relaxed);
            let in_head = phase == HEAD || (phase == IDLE && self.holds_part_of_a_head());
            let limit = if in_head { self.head } else { self.idle };
            let due = self.since + limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() > due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(context));
            let now = Instant::now();
            if phase == SERVING {
                self.since = now;
            } else if now >= due {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            let next = self.since + limit;
            timer.as_mut().reset(next);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                read?;
                Poll::Ready(self.note(&buffer.filled()[before..]))
            }
            Poll::Pending => self.poll_overdue(context).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_stalled(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes an answer whole, and is stuck with it only here.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.unless_stalled(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.unless_stalled(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
