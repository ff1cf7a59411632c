//! HTTP/2: many requests over one connection, each in a task of the connection's own.
//!
//! Its connections are not guarded byte by byte: a head comes in frames that others interleave with. They
//! are closed when no request has been open for the idle time, whatever else was sent, and when a ping
//! finds nobody.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::{Builder, Connection};
use hyper::service::{Service as HyperService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::places::Place;
use super::stall::Watched;
use super::{Config, Server, Service, is_let_in};
use crate::peer::Peer;
use crate::response::Body;

/// Requests at once on a connection: a gang's scheduler asks for hundreds of images over one.
const MAX_STREAMS: u32 = 256;
/// A client that vanished is found by this, where TCP alone would take hours.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take, after it was told to go, to read what it asked for.
const LAST_READ: Duration = Duration::from_secs(10);

impl<S: Service> Server<S> {
    /// Serves one connection until it ends; its streams have ended with it.
    pub(super) async fn http2<I>(self: &Arc<Self>, stream: I, peer: Peer, place: Place)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let activity = Arc::new(Activity::new());
        let ends = Arc::new((peer, place));
        let service = service_fn(|request: Request<Incoming>| {
            let (server, ends) = (Arc::clone(self), Arc::clone(&ends));
            let open = Arc::clone(&activity).request();
            async move {
                let (peer, place) = &*ends;
                let response: Response<Body> = server.service.answer(request, peer).await;
                place.request_ends(is_let_in(&response));
                if let Body::Lines(lines) = response.body() {
                    lines.hold(open);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let write = self.config.write_timeout.0.min(self.config.idle_timeout.0);
        let streams = Streams(TaskTracker::new());
        let connection = Builder::new(streams.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(self.config.max_head.0).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(Watched::new(stream, write)), service);
        self.drive(std::pin::pin!(connection), &activity, &ends.1)
            .await;
        streams.0.close();
        streams.0.wait().await;
    }

    /// Until the connection ends, is idle for too long, or is drained. Both times the client is told by
    /// GOAWAY which requests are still answered, so that it can send the others elsewhere.
    async fn drive<I, H>(
        &self,
        mut connection: Pin<&mut Connection<TokioIo<I>, H, Streams>>,
        activity: &Activity,
        place: &Place,
    ) where
        I: AsyncRead + AsyncWrite + Unpin,
        H: HyperService<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
        H::Future: Send + 'static,
    {
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => Some(served),
            () = self.goaway.cancelled() => None,
            () = activity.idle(&self.config) => None,
            () = self.end_of(place).cancelled() => return,
        };
        let served = match served {
            Some(served) => served,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    served = connection => served,
                    // A client may ignore the GOAWAY, or not read its answers.
                    () = activity.idle_for(LAST_READ.min(self.config.idle_timeout.0)) => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "an HTTP/2 connection ended early");
        }
    }
}

/// Runs a connection's streams, and knows when they have ended.
#[derive(Debug, Clone)]
struct Streams(TaskTracker);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// Whether a connection's requests are open, and since when none is.
#[derive(Debug)]
struct Activity(Mutex<Requests>);

#[derive(Debug, Clone, Copy)]
struct Requests {
    open: usize,
    ended: Instant,
    has_begun: bool,
}

/// A request that is open until this is dropped: until its answer has been made, or it is cancelled.
struct Open(Arc<Activity>);

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(Requests {
            open: 0,
            ended: Instant::now(),
            has_begun: false,
        }))
    }

    fn request(self: Arc<Self>) -> Open {
        let mut requests = self.0.lock();
        requests.open += 1;
        requests.has_begun = true;
        drop(requests);
        Open(self)
    }

    /// Until no request has come in the time for a first one, or none has been open for the idle time.
    async fn idle(&self, config: &Config) {
        let (begun, idle) = (Instant::now(), config.idle_timeout.0);
        sleep(config.head_timeout.0.min(idle)).await;
        if self.0.lock().has_begun {
            self.idle_since(begun, idle).await;
        }
    }

    /// Until no request has been open for so long, from now on.
    async fn idle_for(&self, limit: Duration) {
        self.idle_since(Instant::now(), limit).await;
    }

    async fn idle_since(&self, begun: Instant, limit: Duration) {
        loop {
            let Requests { open, ended, .. } = *self.0.lock();
            let now = Instant::now();
            let since = if open > 0 { now } else { ended.max(begun) };
            let due = since + limit;
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut requests = self.0.0.lock();
        requests.open -= 1;
        requests.ended = Instant::now();
    }
}
