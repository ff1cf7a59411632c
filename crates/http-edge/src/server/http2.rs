//! HTTP/2: many requests over one connection, each in a task of the connection's own.
//!
//! Its connections are not guarded byte by byte: a head comes in frames that others interleave with. They
//! are closed when no first request comes in the time for a head, when none has been open for the idle
//! time, whatever else was sent, when a write makes no progress, and when a ping gets no reply.
//!
//! A response is sent only as fast as the client's windows allow, so unread data is bounded (`http2/streams`):
//! bytes for each connection and for all, streams for all, and unread responses on an unauthenticated connection.
//! A stream whose client reads nothing for the write time limit is reset; if its last bytes already wait in
//! HTTP/2's own buffer, the connection is closed.

mod streams;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http2::{Builder, Connection};
use hyper::service::{Service as HyperService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection_slots::ConnectionSlot;
use super::write_timeout::WriteTimeoutStream;
use super::{Server, Service, framing, is_authenticated};
use crate::body::Body;
use crate::peer::Peer;
use streams::{ConnectionStreams, PacedBody, StreamError, StreamExecutor};

/// Requests at once on a connection. A client with more to ask waits for a response, as HTTP/2 has it, or
/// opens a second connection. Each costs memory before the client has authenticated: h2 reads all heads that have
/// arrived before it hands out the first, and its table of streams doubles as it grows. With 32, a connection of
/// a stranger who reads nothing costs less than 100 KiB, TLS included; with 64 it costs 120 KiB, with 256
/// 370 KiB. A single response of /gateway/v1/resolve has all images that a gang's scheduler requests.
const MAX_STREAMS: u32 = 32;
/// Bytes of request bodies that are taken ahead of their reader, for each connection: the least that
/// HTTP/2 knows.
const WINDOW: u32 = 65_535;
/// Bytes of a response that wait in a stream's own buffer.
const SEND_BUFFER: usize = 64 << 10;
/// Interval of the pings that detect a client that vanished, where TCP alone would take hours.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a client has, after GOAWAY, to read the responses to its requests.
const DRAIN_READ: Duration = Duration::from_secs(10);

/// Removes the body of a response to a HEAD and sets its length (RFC 9110 §9.3.2), which hyper does over HTTP/1
/// only.
fn strip_head_body(response: &mut Response<Body>) {
    let whole = std::mem::replace(response.body_mut(), Body::from(Bytes::new()));
    if let Some(length) = whole.size_hint().exact() {
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// HTTP/2 connection with its open streams.
struct Http2Connection {
    peer: Peer,
    slot: ConnectionSlot,
    streams: Arc<ConnectionStreams>,
}

impl<S: Service> Server<S> {
    /// Serves one connection until it ends; by then its streams have ended too.
    pub(super) async fn http2<I>(self: &Arc<Self>, stream: I, peer: Peer, slot: ConnectionSlot)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let write = self.write_limit();
        let open = Arc::new(Http2Connection {
            peer,
            slot,
            streams: ConnectionStreams::new(
                self.budget.clone(),
                Arc::clone(&self.streams),
                self.config.max_buffered_per_connection,
                write,
            ),
        });
        let service = service_fn(|request: Request<Incoming>| {
            let (server, open) = (Arc::clone(self), Arc::clone(&open));
            // Boxed, so that a stream whose response waits has given back what it took to make it.
            Box::pin(async move {
                let stream = open.streams.begin()?;
                let is_head = request.method() == Method::HEAD;
                let (mut head, mut body) = request.into_parts();
                let mut response = match framing::check(&head, &body) {
                    Ok(()) => {
                        server
                            .service
                            .answer(&mut head, &mut body, &open.peer)
                            .await
                    }
                    Err(why) => server.service.refuse(&mut head, why, &open.peer),
                };
                if is_head {
                    strip_head_body(&mut response);
                }
                let authenticated = is_authenticated(&response);
                open.slot.request_ends(authenticated);
                let (head, body) = response.into_parts();
                let body = stream.answer(body, authenticated)?;
                Ok::<_, StreamError>(Response::from_parts(head, body))
            })
        });
        let executor = StreamExecutor::new(Arc::clone(&open.streams));
        let connection = Builder::new(executor.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(self.config.max_head.0).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(
                TokioIo::new(WriteTimeoutStream::new(stream, write)),
                service,
            );
        self.drive(std::pin::pin!(connection), &open).await;
        executor.ended().await;
    }

    /// Runs the connection until it ends, is idle for too long, or is drained. In the last two cases GOAWAY
    /// names the last request that is still answered, so that the client can send later ones elsewhere.
    async fn drive<I, H>(
        &self,
        mut connection: Pin<&mut Connection<TokioIo<I>, H, StreamExecutor>>,
        open: &Http2Connection,
    ) where
        I: AsyncRead + AsyncWrite + Unpin,
        H: HyperService<Request<Incoming>, Response = Response<PacedBody>, Error = StreamError>,
        H::Future: Send + 'static,
    {
        let (head, idle) = (self.config.head_timeout.0, self.config.idle_timeout.0);
        let streams = &open.streams;
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => Some(served),
            () = self.goaway.cancelled() => None,
            () = streams.idle(head, idle) => None,
            () = streams.stalled() => return,
            () = self.close_token(&open.slot).cancelled() => return,
        };
        let served = match served {
            Some(served) => served,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    served = connection => served,
                    // A client may ignore the GOAWAY, or not read its answers.
                    () = streams.idle_for(DRAIN_READ.min(idle)) => return,
                    () = streams.stalled() => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "an HTTP/2 connection ended early");
        }
    }
}
