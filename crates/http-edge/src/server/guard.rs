//! Time limits of an HTTP/1 connection, and detection of a TLS hello on a plain port.
//!
//! Between requests a connection may idle for long; once the first byte of a head is there, the rest
//! must follow soon, and so must the first byte of all. These limits share one timer a connection, armed
//! when a read finds nothing and looked at only when it fires: a request that comes whole costs no timer
//! at all. A client that takes nothing of its answer is closed by a limit of its own ([`WriteTimeout`]), and
//! nothing more is read from it meanwhile.

mod heads;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::write_timeout::WriteTimeout;
use crate::body::{Budget, Charge};
pub(super) use heads::BodyLength;
use heads::HeadTracker;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;

/// First byte of a TLS record that carries a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Phase of a connection: idle, receiving a head, or serving. Shared by the socket's side and the service's.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionPhase(Arc<PhaseState>);

#[derive(Debug, Default)]
struct PhaseState {
    phase: AtomicU8,
    body: AtomicU64,
    /// True if the request's head lay in the buffer before its predecessor was answered.
    pipelined: AtomicBool,
    tls_hello: AtomicBool,
    reserved: Mutex<Option<Charge>>,
    has_reserved: AtomicBool,
}

impl ConnectionPhase {
    /// A whole head has come; this is the body that follows it.
    pub(super) fn request_begins(&self, body: BodyLength) {
        // Relaxed is enough: both sides run in the connection's task. Only the guard of a streamed response is dropped
        // elsewhere, by its writer, and to see that late merely postpones the idle limit to the timer's next look.
        let before = self.0.phase.swap(SERVING, Ordering::Relaxed);
        self.0.pipelined.store(before != HEAD, Ordering::Relaxed);
        self.0.body.store(body.to_bits(), Ordering::Relaxed);
    }

    /// Its answer is ready.
    pub(super) fn request_ends(&self) {
        self.0.phase.store(IDLE, Ordering::Relaxed);
    }

    /// Keeps the room of its answer until all of it has been written.
    pub(super) fn reserve(&self, charge: Option<Charge>) {
        // The flag spares the lock on each write of a small response, which reserves nothing.
        self.0
            .has_reserved
            .store(charge.is_some(), Ordering::Relaxed);
        *self.0.reserved.lock() = charge;
    }

    fn reserved(&self) -> usize {
        if self.0.has_reserved.load(Ordering::Relaxed) {
            self.0.reserved.lock().as_ref().map_or(0, Charge::bytes)
        } else {
            0
        }
    }

    fn on_flushed(&self) {
        if self.0.has_reserved.load(Ordering::Relaxed) {
            self.reserve(None);
        }
    }

    /// Its answer is being made until this is dropped.
    pub(super) fn serving(&self) -> ServingGuard {
        ServingGuard(self.clone())
    }

    /// Returns true if the connection was closed because it began with a TLS hello.
    pub(super) fn was_tls_hello(&self) -> bool {
        self.0.tls_hello.load(Ordering::Relaxed)
    }
}

/// An answer that is being made while it is sent.
#[derive(Debug)]
pub(super) struct ServingGuard(ConnectionPhase);

impl Drop for ServingGuard {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// Time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// From a head's first byte to its last, and from the connection's begin to the first byte.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// Within which a client takes at least one byte of what is sent.
    pub(super) write: Duration,
}

/// Bounds on response bytes that the client has not taken.
#[derive(Debug)]
pub(super) struct BufferLimits {
    pub(super) budget: Budget,
    /// Bytes of this connection, beside an answer for which room was kept.
    pub(super) most: usize,
}

/// A stream under these limits.
#[derive(Debug)]
pub(super) struct Guard<S> {
    stream: S,
    phase: ConnectionPhase,
    untouched: bool,
    heads: HeadTracker,
    since: Instant,
    limits: TimeLimits,
    timer: Option<Pin<Box<Sleep>>>,
    write_timeout: WriteTimeout,
    room: BufferLimits,
    charge: Option<Charge>,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, limits: TimeLimits, room: BufferLimits) -> Self {
        Self {
            stream,
            phase: ConnectionPhase::default(),
            untouched: true,
            heads: HeadTracker::default(),
            since: Instant::now(),
            timer: None,
            write_timeout: WriteTimeout::new(limits.write),
            limits,
            room,
            charge: None,
        }
    }

    pub(super) fn phase(&self) -> ConnectionPhase {
        self.phase.clone()
    }

    /// Takes note of what was read; refuses a TLS hello.
    fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        let [first, ..] = bytes else { return Ok(()) };
        if std::mem::replace(&mut self.untouched, false) && *first == TLS_HANDSHAKE {
            self.phase.0.tls_hello.store(true, Ordering::Relaxed);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a TLS hello on a plain port",
            ));
        }
        let begins = match self.phase.0.phase.load(Ordering::Relaxed) {
            IDLE => {
                self.phase.0.phase.store(HEAD, Ordering::Relaxed);
                let excess = self.excess();
                self.heads.begin(*first, excess);
                excess == 0
            }
            // Pipelined: perhaps the next head's first bytes.
            SERVING => true,
            _ => false,
        };
        if begins {
            self.since = Instant::now();
        }
        self.heads.read(bytes);
        Ok(())
    }

    /// Bytes of the next head that came with the request before.
    fn excess(&self) -> u64 {
        let shared = &self.phase.0;
        let body = BodyLength::from_bits(shared.body.load(Ordering::Relaxed));
        let pipelined = shared.pipelined.load(Ordering::Relaxed);
        self.heads.excess(body, pipelined)
    }

    /// A client that takes its answer in pieces is not idle meanwhile. The `left` bytes that it did not take
    /// are charged: an answer that is taken at once never is.
    fn check_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        left: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if !self.write_timeout.is_pending() {
                return written;
            }
            self.charge = None;
        } else if !self.has_room(left) {
            return Poll::Ready(Err(io::Error::other(
                "too much waits to be taken by clients",
            )));
        }
        self.since = Instant::now();
        self.write_timeout.check(written, context)
    }

    fn has_room(&mut self, left: usize) -> bool {
        let own = left.saturating_sub(self.phase.reserved());
        if own > self.room.most {
            return false;
        }
        match &mut self.charge {
            _ if own == 0 => true,
            Some(charge) => charge.grow_to(own, &self.room.budget),
            none => {
                *none = self.room.budget.try_charge(own);
                none.is_some()
            }
        }
    }

    /// Nothing to read: fails once the phase has lasted too long.
    fn poll_time_limit(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        // The one timer is lazy: a request does not reset it, it only moves `since`. When the timer fires, the limit
        // is computed from what the connection is doing now, and the timer is set again for the rest of it. A
        // connection of many short requests thus touches the timer wheel once per limit, not once per request.
        loop {
            let phase = self.phase.0.phase.load(Ordering::Relaxed);
            let in_head = self.untouched || phase == HEAD || (phase == IDLE && self.excess() > 0);
            let limit = if in_head {
                self.limits.head.min(self.limits.idle)
            } else {
                self.limits.idle
            };
            let due = self.since + limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            // Only a head's short limit moves the timer forward; one that fires early is harmless.
            if timer.deadline() > due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(context));
            let now = Instant::now();
            // Serving has deadlines of its own; the idle time begins after it.
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
        // Requests of a client that takes no answers wait with it, and wake with the write.
        if self.write_timeout.is_pending() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                read?;
                Poll::Ready(self.note(&buffer.filled()[before..]))
            }
            Poll::Pending => self.poll_time_limit(context).map(Err),
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
        self.check_write(written, bytes.len(), context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes an answer whole, and is stuck with it only here.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.phase.on_flushed();
        }
        self.check_write(flushed, 0, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check_write(shut, 0, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        let left = slices.iter().map(|slice| slice.len()).sum();
        self.check_write(written, left, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
