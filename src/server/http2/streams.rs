//! What is open on one HTTP/2 connection, and the bounds on it.
//!
//! 1. [`Streams::begin`] admits a request, unless too many are open on all connections or too much of
//!    earlier responses waits on this one;
//! 2. [`Stream::answer`] charges its response and hands it out in pieces;
//! 3. a piece counts until it has gone to the socket, not only until it has left for HTTP/2's own buffer;
//! 4. [`Runner`] resets a stream whose client has taken nothing for too long; [`Streams::stalled`] ends the
//!    connection where that is no longer possible, because the stream's task has ended before its bytes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::Reason;
use http_body::{Body as _, Frame, SizeHint};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::response::{Body, BrokenOff, Budget, Charge};
use crate::units::ByteSize;

/// A stream that is reset instead of being answered.
pub(super) type Refused = h2::Error;

/// Unread responses to a sender who did not sign in, on one connection.
const MAX_UNAUTHENTICATED: usize = 8;
/// Longest piece of a response that is handed to HTTP/2 at once.
const PIECE: usize = 32 << 10;
/// What a stream's own reset may take before the whole connection is closed for it.
const MARGIN: Duration = Duration::from_secs(1);

/// Streams of one connection.
pub(super) struct Streams {
    budget: Budget,
    /// Streams that may be open on all connections.
    permits: Arc<Semaphore>,
    max_buffered: usize,
    write: Duration,
    state: Mutex<State>,
}

struct State {
    open: usize,
    ended: Instant,
    begun: u64,
    buffered: usize,
    unauthenticated: usize,
    /// Since when a stream's client has taken nothing of what is there for it.
    waiting: BTreeMap<u64, Instant>,
}

/// A request that is open until this is dropped.
pub(super) struct Stream {
    streams: Arc<Streams>,
    number: u64,
    buffered: usize,
    unauthenticated: bool,
    charge: Option<Charge>,
    _permit: OwnedSemaphorePermit,
}

/// A response's body, piece by piece.
pub(super) struct Streamed {
    body: Body,
    rest: Bytes,
    stream: Arc<Stream>,
}

/// A piece that counts until HTTP/2 lets go of it.
struct Piece {
    bytes: Bytes,
    _stream: Arc<Stream>,
}

/// Runs a connection's streams, and resets those whose clients take nothing.
#[derive(Clone)]
pub(super) struct Runner {
    streams: Arc<Streams>,
    tasks: TaskTracker,
}

tokio::task_local! {
    /// Number of the stream that a task runs; zero before its request has begun.
    static NUMBER: Cell<u64>;
}

impl Streams {
    pub(super) fn new(
        budget: Budget,
        permits: Arc<Semaphore>,
        max_buffered: ByteSize,
        write: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            budget,
            permits,
            max_buffered: usize::try_from(max_buffered.0).unwrap_or(usize::MAX),
            write,
            state: Mutex::new(State {
                open: 0,
                ended: Instant::now(),
                begun: 0,
                buffered: 0,
                unauthenticated: 0,
                waiting: BTreeMap::new(),
            }),
        })
    }

    /// Admits one request. Called in the stream's own task.
    ///
    /// # Errors
    /// REFUSED_STREAM, which says that nothing was done and that it may be sent again.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Stream, Refused> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Reason::REFUSED_STREAM)?;
        let mut state = self.state.lock();
        if state.buffered >= self.max_buffered {
            return Err(Reason::REFUSED_STREAM.into());
        }
        state.open += 1;
        state.begun += 1;
        let number = state.begun;
        drop(state);
        // Elsewhere than in a runner's task nothing looks at it.
        let _ = NUMBER.try_with(|own| own.set(number));
        Ok(Stream {
            streams: Arc::clone(self),
            number,
            buffered: 0,
            unauthenticated: false,
            charge: None,
            _permit: permit,
        })
    }

    /// Until no request has come in the time for a first one, or none has been open for the idle time.
    pub(super) async fn idle(&self, first: Duration, idle: Duration) {
        let begun = Instant::now();
        sleep(first.min(idle)).await;
        if self.state.lock().begun > 0 {
            self.idle_since(begun, idle).await;
        }
    }

    /// Until no request has been open for so long, from now on.
    pub(super) async fn idle_for(&self, limit: Duration) {
        self.idle_since(Instant::now(), limit).await;
    }

    async fn idle_since(&self, begun: Instant, limit: Duration) {
        loop {
            let (open, ended) = {
                let state = self.state.lock();
                (state.open, state.ended)
            };
            let now = Instant::now();
            let since = if open > 0 { now } else { ended.max(begun) };
            let due = since + limit;
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }

    /// Until a client has taken nothing of one of its responses for longer than a stream's reset takes.
    pub(super) async fn stalled(&self) {
        let limit = self.write + MARGIN;
        loop {
            let now = Instant::now();
            let since = self.state.lock().waiting.values().min().copied();
            let due = since.unwrap_or(now) + limit;
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn waits_since(&self, number: u64) -> Option<Instant> {
        self.state.lock().waiting.get(&number).copied()
    }
}

impl Stream {
    /// Hands a response out, within the bounds.
    ///
    /// # Errors
    /// ENHANCE_YOUR_CALM when its client takes too little of what it asked for.
    pub(super) fn answer(mut self, mut body: Body, let_in: bool) -> Result<Streamed, Refused> {
        let length = body.size_hint().exact().unwrap_or(0);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let charge = body.take_charge();
        let streams = &self.streams;
        self.charge = match charge {
            None if length > 0 => {
                let charge = streams.budget.try_charge(length);
                Some(charge.ok_or(Reason::ENHANCE_YOUR_CALM)?)
            }
            charge => charge,
        };
        let mut state = streams.state.lock();
        let has_room = state.buffered == 0 || state.buffered + length <= streams.max_buffered;
        if !has_room || (!let_in && state.unauthenticated >= MAX_UNAUTHENTICATED) {
            return Err(Reason::ENHANCE_YOUR_CALM.into());
        }
        state.buffered += length;
        state.unauthenticated += usize::from(!let_in);
        drop(state);
        (self.buffered, self.unauthenticated) = (length, !let_in);
        Ok(Streamed {
            body,
            rest: Bytes::new(),
            stream: Arc::new(self),
        })
    }

    /// Notes that a piece waits for the client from now on.
    fn handed(&self) {
        let mut state = self.streams.state.lock();
        state.waiting.insert(self.number, Instant::now());
    }

    /// Notes that the client waits for more.
    fn is_made(&self) {
        self.streams.state.lock().waiting.remove(&self.number);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.streams.state.lock();
        state.open -= 1;
        state.ended = Instant::now();
        state.buffered -= self.buffered;
        state.unauthenticated -= usize::from(self.unauthenticated);
        state.waiting.remove(&self.number);
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            let polled = Pin::new(&mut this.body).poll_frame(context);
            if polled.is_pending() {
                this.stream.is_made();
            }
            match ready!(polled) {
                Some(Ok(frame)) => this.rest = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let bytes = this.rest.split_to(this.rest.len().min(PIECE));
        this.stream.handed();
        let piece = Piece {
            bytes,
            _stream: Arc::clone(&this.stream),
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.len() as u64 {
            0 => self.body.size_hint(),
            rest => SizeHint::with_exact(rest),
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Runner {
    pub(super) fn new(streams: Arc<Streams>) -> Self {
        Self {
            streams,
            tasks: TaskTracker::new(),
        }
    }

    /// Until every stream has ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> Executor<F> for Runner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let running = until_stalled(Arc::clone(&self.streams), stream);
        self.tasks.spawn(NUMBER.scope(Cell::new(0), running));
    }
}

/// Runs a stream until it ends, or until its client has taken nothing for the write time limit: dropped
/// then, it is reset. A response that is taken at once costs no timer.
async fn until_stalled(streams: Arc<Streams>, stream: impl Future<Output = ()>) {
    let mut stream = pin!(stream);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = streams.waits_since(NUMBER.with(Cell::get)) else {
            return Poll::Pending;
        };
        let due = since + streams.write;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(context)
    })
    .await;
}
