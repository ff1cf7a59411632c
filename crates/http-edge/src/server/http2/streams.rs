//! Open streams of an HTTP/2 connection, and their bounds.
//!
//! 1. [`ConnectionStreams::begin`] admits a request, unless too many are open on all connections or too much of
//!    earlier responses waits on this one;
//! 2. [`OpenStream::answer`] charges its response and hands it out in pieces;
//! 3. a piece counts until it has gone to the socket, not only until it has left for HTTP/2's own buffer;
//! 4. [`StreamExecutor`] resets a stream whose client has read nothing for too long; [`ConnectionStreams::stalled`] ends the
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

use crate::body::{Body, BodyAborted, Budget, Charge};
use host::units::ByteSize;

/// A stream that is reset instead of being answered.
pub(super) type StreamError = h2::Error;

/// Largest number of unread responses on an unauthenticated connection.
const MAX_UNAUTHENTICATED: usize = 8;
/// Longest piece of a response that is handed to HTTP/2 at once.
const MAX_CHUNK: usize = 32 << 10;
/// Time for a stream's own reset, after which the whole connection is closed.
const RESET_MARGIN: Duration = Duration::from_secs(1);

/// Streams of one connection.
pub(super) struct ConnectionStreams {
    budget: Budget,
    /// Permits for the streams that may be open on all connections.
    permits: Arc<Semaphore>,
    max_buffered: usize,
    write: Duration,
    state: Mutex<StreamState>,
}

struct StreamState {
    open: usize,
    ended: Instant,
    begun: u64,
    buffered: usize,
    unauthenticated: usize,
    /// Time since which a stream's client has read nothing although bytes are ready for it.
    blocked: BTreeMap<u64, Instant>,
}

/// Open request; dropping it ends the request.
pub(super) struct OpenStream {
    streams: Arc<ConnectionStreams>,
    number: u64,
    buffered: usize,
    unauthenticated: bool,
    charge: Option<Charge>,
    _permit: OwnedSemaphorePermit,
}

/// Response body that is sent in pieces.
pub(super) struct PacedBody {
    body: Body,
    rest: Bytes,
    stream: Arc<OpenStream>,
}

/// Piece of a body, which counts against the budget until HTTP/2 drops it.
struct BodyChunk {
    bytes: Bytes,
    _stream: Arc<OpenStream>,
}

/// Runs a connection's streams, and resets those whose clients read nothing.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    streams: Arc<ConnectionStreams>,
    tasks: TaskTracker,
}

tokio::task_local! {
    /// Number of the stream that a task runs; zero before its request has begun.
    static STREAM_ID: Cell<u64>;
}

impl ConnectionStreams {
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
            state: Mutex::new(StreamState {
                open: 0,
                ended: Instant::now(),
                begun: 0,
                buffered: 0,
                unauthenticated: 0,
                blocked: BTreeMap::new(),
            }),
        })
    }

    /// Admits one request. Called in the stream's own task.
    ///
    /// # Errors
    /// REFUSED_STREAM: the request was not processed, and the client may send it again.
    pub(super) fn begin(self: &Arc<Self>) -> Result<OpenStream, StreamError> {
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
        let _ = STREAM_ID.try_with(|own| own.set(number));
        Ok(OpenStream {
            streams: Arc::clone(self),
            number,
            buffered: 0,
            unauthenticated: false,
            charge: None,
            _permit: permit,
        })
    }

    /// Waits until the time for a first request has passed without one, or until no request has been open for
    /// the idle time.
    pub(super) async fn idle(&self, first: Duration, idle: Duration) {
        let begun = Instant::now();
        sleep(first.min(idle)).await;
        if self.state.lock().begun > 0 {
            self.idle_since(begun, idle).await;
        }
    }

    /// Waits until no request has been open for this time, counted from the call.
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

    /// Waits until a client has read nothing of one of its responses for longer than a stream's reset takes.
    pub(super) async fn stalled(&self) {
        let limit = self.write + RESET_MARGIN;
        loop {
            let now = Instant::now();
            let since = self.state.lock().blocked.values().min().copied();
            let due = since.unwrap_or(now) + limit;
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn blocked_since(&self, number: u64) -> Option<Instant> {
        self.state.lock().blocked.get(&number).copied()
    }
}

impl OpenStream {
    /// Charges a response and sends it in pieces, within the bounds.
    ///
    /// # Errors
    /// ENHANCE_YOUR_CALM if the client reads too little of its responses.
    pub(super) fn answer(
        mut self,
        mut body: Body,
        authenticated: bool,
    ) -> Result<PacedBody, StreamError> {
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
        if !has_room || (!authenticated && state.unauthenticated >= MAX_UNAUTHENTICATED) {
            return Err(Reason::ENHANCE_YOUR_CALM.into());
        }
        state.buffered += length;
        state.unauthenticated += usize::from(!authenticated);
        drop(state);
        (self.buffered, self.unauthenticated) = (length, !authenticated);
        Ok(PacedBody {
            body,
            rest: Bytes::new(),
            stream: Arc::new(self),
        })
    }

    /// Records that a piece waits for the client from now on.
    fn on_chunk_sent(&self) {
        let mut state = self.streams.state.lock();
        state.blocked.insert(self.number, Instant::now());
    }

    /// Records that the client waits for more.
    fn on_body_pending(&self) {
        self.streams.state.lock().blocked.remove(&self.number);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut state = self.streams.state.lock();
        state.open -= 1;
        state.ended = Instant::now();
        state.buffered -= self.buffered;
        state.unauthenticated -= usize::from(self.unauthenticated);
        state.blocked.remove(&self.number);
    }
}

impl http_body::Body for PacedBody {
    type Data = Bytes;
    type Error = BodyAborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            let polled = Pin::new(&mut this.body).poll_frame(context);
            if polled.is_pending() {
                this.stream.on_body_pending();
            }
            match ready!(polled) {
                Some(Ok(frame)) => this.rest = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let bytes = this.rest.split_to(this.rest.len().min(MAX_CHUNK));
        this.stream.on_chunk_sent();
        let piece = BodyChunk {
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

impl AsRef<[u8]> for BodyChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl StreamExecutor {
    pub(super) fn new(streams: Arc<ConnectionStreams>) -> Self {
        Self {
            streams,
            tasks: TaskTracker::new(),
        }
    }

    /// Waits until every stream has ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let running = run_until_stalled(Arc::clone(&self.streams), stream);
        self.tasks.spawn(STREAM_ID.scope(Cell::new(0), running));
    }
}

/// Runs a stream until it ends, or until its client has read nothing for the write time limit: then it is
/// dropped, which resets it. A response that is read at once costs no timer.
async fn run_until_stalled(streams: Arc<ConnectionStreams>, stream: impl Future<Output = ()>) {
    let mut stream = pin!(stream);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = streams.blocked_since(STREAM_ID.with(Cell::get)) else {
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
