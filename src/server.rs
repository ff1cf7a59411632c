//! The data port: accepting connections, and closing them without losing a request.

mod connection_slots;
mod framing;
mod guard;
mod http2;
mod listener;
mod tls;
mod write_timeout;

pub use connection_slots::EvictionPolicy;
pub use listener::{Address, BindError, BoundSocket, bind, bind_tcp, inherited};
pub use tls::{Config as TlsConfig, Tls, TlsFileError, TlsFileErrors, read as read_tls};

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus::IntGauge;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Malformed;
use crate::body::{Body, Budget};
use crate::observability::logging::Condition;
use crate::observability::metrics::{HandshakeResult, ListenerMetrics};
use crate::peer::Peer;
use crate::units::{ByteSize, HumanDuration};
use connection_slots::{ConnectionSlot, ConnectionSlots};
use guard::{BodyLength, BufferLimits, ConnectionPhase, Guard, TimeLimits};
use listener::SocketStream;
use tls::HandshakeError;

/// The `[listen]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// IP address and port; port 0 takes a free one.
    pub address: String,
    /// Path of a Unix socket to listen on instead.
    pub unix: Option<String>,
    /// The socket's permissions, in octal.
    pub unix_mode: String,
    /// Number of open connections; one more is answered 503 and closed, on a TLS port only closed.
    pub max_connections: u32,
    /// Number of requests that may wait at once; one more is answered 429. Hits do not wait.
    pub max_in_flight: u32,
    /// Connections that the kernel queues until they are accepted.
    pub backlog: u32,
    /// HTTP/2 requests open at once, over all connections; one more is refused and may be sent again.
    pub max_streams: u32,
    /// Bytes of responses that clients have not taken, over all connections; what does not fit is answered
    /// 429.
    pub max_buffered: ByteSize,
    /// The same for one connection; a single response may be longer.
    pub max_buffered_per_connection: ByteSize,
    /// Bytes of the longest request head.
    pub max_head: ByteSize,
    /// Time for a request's head to arrive, from its first byte; also for the first byte of a connection.
    pub head_timeout: HumanDuration,
    /// Time after which an idle connection is closed. SDKs lose a request when it is short.
    pub idle_timeout: HumanDuration,
    /// Time after which a client that takes no byte of its response is closed.
    pub write_timeout: HumanDuration,
    /// Encryption; off unless its files are named.
    pub tls: TlsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".to_owned(),
            unix: None,
            unix_mode: "0660".to_owned(),
            max_connections: 20_000,
            max_in_flight: 20_000,
            backlog: 4096,
            max_streams: 20_000,
            max_buffered: ByteSize(64 << 20),
            max_buffered_per_connection: ByteSize(8 << 20),
            max_head: ByteSize(16 << 10),
            head_timeout: HumanDuration::secs(5),
            idle_timeout: HumanDuration::secs(75),
            write_timeout: HumanDuration::secs(10),
            tls: TlsConfig::default(),
        }
    }
}

impl Config {
    /// Where to listen; `None` for an address that is none.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        let mode = u32::from_str_radix(&self.unix_mode, 8).ok()?;
        Address::parse(&self.address, self.unix.as_deref(), mode)
    }
}

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request; there is no error beyond an answer.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Answers a request that could be read in two ways, in the service's own error shape if it has one. Its body is
    /// not read, and over HTTP/1 its connection ends with the answer.
    fn refuse(&self, _head: Parts, _why: Malformed, _peer: &Peer) -> Response<Body> {
        let mut response = Response::new(Body::from(Bytes::new()));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    }
}

/// Response extension of a service that requires authentication, set on the answer to a request without any.
/// The server keeps such a connection first in line for eviction and bounds its unread responses.
#[derive(Debug, Clone, Copy)]
pub struct Unauthenticated;

/// ServerBounds that a server shares with others, or that depend on more than its settings.
#[derive(Debug)]
pub struct ServerBounds {
    /// Which connection makes room.
    pub policy: EvictionPolicy,
    /// BufferLimits for responses that clients have not taken.
    pub budget: Budget,
}

/// Serves connections until it is told to stop.
#[derive(Debug)]
pub struct Server<S> {
    service: Arc<S>,
    config: Config,
    tls: Option<Arc<Tls>>,
    metrics: ListenerMetrics,
    connections: TaskTracker,
    slots: Arc<ConnectionSlots>,
    budget: Budget,
    streams: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    closing: AtomicBool,
    goaway: CancellationToken,
    close: CancellationToken,
}

/// Refusals written at once; beyond that a connection is closed without a word.
const MAX_REFUSALS: usize = 64;
/// How long busy clients get to hear `Connection: close` before idle connections are closed.
const CLOSE_NOTICE: Duration = Duration::from_secs(1);
/// Bytes of a response that TLS holds for a client that takes none: one record.
const TLS_BUFFER: usize = 16 << 10;
/// Pause after an accept that failed, as it does while there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl<S: Service> Server<S> {
    /// A server of no connections yet; a plain one without `tls`. Beyond its connections it refuses.
    #[must_use]
    pub fn new(
        service: Arc<S>,
        config: Config,
        tls: Option<Arc<Tls>>,
        metrics: ListenerMetrics,
    ) -> Arc<Self> {
        let budget = Budget::new(config.max_buffered);
        let bounds = ServerBounds {
            policy: EvictionPolicy::RefuseNew,
            budget,
        };
        Self::bounded(service, config, tls, metrics, bounds)
    }

    /// The same within bounds of its own.
    #[must_use]
    pub fn bounded(
        service: Arc<S>,
        config: Config,
        tls: Option<Arc<Tls>>,
        metrics: ListenerMetrics,
        ServerBounds { policy, budget }: ServerBounds,
    ) -> Arc<Self> {
        let slots = ConnectionSlots::new(config.max_connections as usize, policy);
        let streams = Arc::new(Semaphore::new(config.max_streams as usize));
        Arc::new(Self {
            service,
            config,
            tls,
            metrics,
            connections: TaskTracker::new(),
            slots,
            budget,
            streams,
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            closing: AtomicBool::new(false),
            goaway: CancellationToken::new(),
            close: CancellationToken::new(),
        })
    }

    /// Accepts until `stop`. Nothing here waits for a client, so that the next is never kept waiting.
    pub async fn accept(self: Arc<Self>, bound: BoundSocket, stop: CancellationToken) {
        while let Some(accepted) = stop.run_until_cancelled(bound.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => {
                    let ListenerMetrics {
                        conditions, name, ..
                    } = &self.metrics;
                    conditions.recovered(Condition::AcceptFails, *name);
                    accepted
                }
                Err(error) => {
                    let ListenerMetrics {
                        conditions, name, ..
                    } = &self.metrics;
                    conditions.occurred(Condition::AcceptFails, *name, || error.to_string());
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let server = Arc::clone(&self);
            match self.slots.take(&peer, &self.close, Instant::now()) {
                Some(slot) => self.connections.spawn(server.serve(stream, peer, slot)),
                None => self.connections.spawn(server.refuse(stream)),
            };
        }
    }

    async fn serve(self: Arc<Self>, stream: SocketStream, peer: Peer, slot: ConnectionSlot) {
        self.metrics.open.inc();
        let _open = OpenConnectionGauge(&self.metrics.open);
        match &self.tls {
            None => self.http1(stream, &peer, &slot).await,
            // Boxed, so that a plain connection's task does not grow by what TLS needs.
            Some(tls) => Box::pin(self.serve_tls(tls, stream, peer, slot)).await,
        }
    }

    async fn serve_tls(
        self: &Arc<Self>,
        tls: &Tls,
        stream: SocketStream,
        mut peer: Peer,
        slot: ConnectionSlot,
    ) {
        let shaking = self
            .close_token(&slot)
            .run_until_cancelled(tls.accept(stream));
        let Some(shaken) = shaking.await else {
            return;
        };
        let mut stream = match shaken {
            Ok(stream) => stream,
            Err(why) => return self.handshake_failed(&why, &peer),
        };
        self.metrics.count_handshake(HandshakeResult::Ok);
        let (_, session) = stream.get_mut();
        session.set_buffer_limit(Some(TLS_BUFFER));
        peer.encrypted = true;
        peer.names = tls::client_names(session);
        if session.alpn_protocol() == Some(b"h2") {
            self.http2(stream, peer, slot).await;
        } else {
            self.http1(stream, &peer, &slot).await;
        }
    }

    /// Time in which a client takes at least one byte of what is sent.
    fn write_limit(&self) -> Duration {
        self.config.write_timeout.0.min(self.config.idle_timeout.0)
    }

    /// Cancelled when this connection must end.
    fn close_token<'a>(&'a self, slot: &'a ConnectionSlot) -> &'a CancellationToken {
        slot.close_token().unwrap_or(&self.close)
    }

    async fn http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: &Peer,
        slot: &ConnectionSlot,
    ) {
        let limits = TimeLimits {
            head: self.config.head_timeout.0,
            idle: self.config.idle_timeout.0,
            write: self.write_limit(),
        };
        let most = usize::try_from(self.config.max_buffered_per_connection.0);
        let room = BufferLimits {
            budget: self.budget.clone(),
            most: most.unwrap_or(usize::MAX),
        };
        let guard = Guard::new(stream, limits, room);
        let phase = guard.phase();
        let service = service_fn(|request| self.answer(request, peer, slot, &phase));
        let connection = http1::Builder::new()
            .max_buf_size(usize::try_from(self.config.max_head.0).unwrap_or(usize::MAX))
            // The guard does both time-outs, without a timer for each request.
            .header_read_timeout(None)
            // One buffer: to copy an image's few hundred bytes costs less than a second segment.
            .writev(false)
            .serve_connection(TokioIo::new(guard), service);
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = self.close_token(slot).cancelled() => {
                if slot.is_evicted() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if phase.was_tls_hello() {
            self.report_tls_hello(peer);
        } else if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Counts a handshake without a connection, and reports it.
    fn handshake_failed(&self, why: &HandshakeError, peer: &Peer) {
        self.metrics.count_handshake(why.result());
        match why.condition() {
            None => tracing::debug!(%why, "a TLS handshake did not end"),
            Some(condition) => {
                let ListenerMetrics {
                    conditions, name, ..
                } = &self.metrics;
                conditions.occurred(condition, *name, || format!("{why} (peer {peer})"));
            }
        }
    }

    fn report_tls_hello(&self, peer: &Peer) {
        let ListenerMetrics {
            conditions, name, ..
        } = &self.metrics;
        conditions.occurred(Condition::TlsOnPlainPort, *name, || format!("peer {peer}"));
    }

    /// The service's answer, and whether the request's head was refused.
    async fn respond(&self, request: Request<Incoming>, peer: &Peer) -> (Response<Body>, bool) {
        match framing::check(&request) {
            Ok(()) => (self.service.answer(request, peer).await, false),
            Err(why) => (self.service.refuse(request.into_parts().0, why, peer), true),
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        slot: &ConnectionSlot,
        phase: &ConnectionPhase,
    ) -> Result<Response<Body>, Infallible> {
        phase.request_begins(length_of(request.body()));
        slot.request_begins();
        let (mut response, is_refused) = self.respond(request, peer).await;
        slot.request_ends(is_authenticated(&response));
        if is_refused || self.closing.load(Ordering::Relaxed) {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        match response.body_mut() {
            Body::Whole(_) => phase.request_ends(),
            body @ Body::Charged(..) => {
                phase.reserve(body.take_charge());
                phase.request_ends();
            }
            // Until its lines are made, the connection does not idle.
            Body::Lines(lines) => lines.retain(phase.serving()),
        }
        Ok(response)
    }

    /// Answers a connection beyond the limit in the API's shape, without reading it. A handshake for
    /// that would be more work than an answer: a TLS client finds it closed.
    async fn refuse(self: Arc<Self>, mut stream: SocketStream) {
        self.metrics.refused.inc();
        let ListenerMetrics {
            conditions, name, ..
        } = &self.metrics;
        conditions.occurred(Condition::ConnectionsRefused, *name, String::new);
        if self.tls.is_some() {
            return;
        }
        let Ok(_permit) = self.refusals.try_acquire() else {
            return;
        };
        let written = timeout(CLOSE_NOTICE, async {
            stream.write_all(OVERLOADED.as_bytes()).await?;
            stream.shutdown().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            tracing::debug!("a refused connection did not hear why");
        }
    }

    /// Ends every connection: each answer from now on says `Connection: close`, HTTP/2 clients hear
    /// GOAWAY, then idle connections are closed, then the rest get until `deadline`. Tells how many were
    /// still open then.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.closing.store(true, Ordering::Relaxed);
        self.goaway.cancel();
        self.connections.close();
        if timeout(CLOSE_NOTICE.min(deadline), self.connections.wait())
            .await
            .is_ok()
        {
            return 0;
        }
        self.close.cancel();
        let drained = timeout(
            deadline.saturating_sub(CLOSE_NOTICE),
            self.connections.wait(),
        )
        .await;
        if drained.is_ok() {
            0
        } else {
            self.connections.len()
        }
    }
}

/// Counts a connection as open for as long as it lives.
struct OpenConnectionGauge<'a>(&'a IntGauge);

impl Drop for OpenConnectionGauge<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn length_of(body: &Incoming) -> BodyLength {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => BodyLength::None,
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Chunked,
    }
}

/// Whether the request's sender was let in, as far as the service asks that.
fn is_authenticated(response: &Response<Body>) -> bool {
    response.extensions().get::<Unauthenticated>().is_none()
}

const OVERLOADED: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 125\r\nConnection: close\r\n\r\n",
    r#"{"RequestId":"00000000-0000-0000-0000-000000000000","HostId":"","Code":"Gateway.Overloaded","Message":"too many connections"}"#,
);

#[cfg(test)]
mod tests {
    use super::OVERLOADED;

    #[test]
    fn the_refusal_says_its_own_length() {
        let (head, body) = OVERLOADED.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
