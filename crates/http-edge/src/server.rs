//! Server of a listener: accepts connections, bounds them, and closes them without losing a request.

mod config;
mod connection_slots;
mod framing;
mod guard;
mod http1;
mod http2;
mod listener;
mod observer;
mod tls;
mod write_timeout;

pub use config::Config;
pub use connection_slots::EvictionPolicy;
pub use framing::AmbiguousHead;
pub use listener::{Address, BindError, BoundSocket, bind, bind_tcp, inherited};
pub use observer::Observer;
pub use tls::{
    Config as TlsConfig, HandshakeError, Tls, TlsFileError, TlsFileErrors, read as read_tls,
};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::{Body, Budget};
use crate::peer::Peer;
use connection_slots::{ConnectionSlot, ConnectionSlots};
use listener::SocketStream;

/// Handler of a server's requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request; there is no error beyond an answer. Head and body are lent: to move them from one future
    /// into the next costs more than most of what is done with them. The service may take the headers.
    fn answer(
        &self,
        head: &mut Parts,
        body: &mut Incoming,
        peer: &Peer,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Answers a request that could be read in two ways, in the service's own error shape if it has one. Its body is
    /// not read, and over HTTP/1 its connection ends with the answer.
    fn refuse(&self, _head: &mut Parts, _why: AmbiguousHead, _peer: &Peer) -> Response<Body> {
        let mut response = Response::new(Body::from(Bytes::new()));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    }
}

/// Response extension of a service that requires authentication, set on the answer to a request without any.
/// The server keeps such a connection first in line for eviction and bounds its unread responses.
#[derive(Debug, Clone, Copy)]
pub struct Unauthenticated;

/// Bounds that a server shares with others, or that depend on more than its settings.
#[derive(Debug)]
pub struct ServerBounds {
    /// Rule for a new connection when every slot is taken.
    pub policy: EvictionPolicy,
    /// Budget of bytes of responses that clients have not read.
    pub budget: Budget,
}

/// Serves connections until it is stopped.
#[derive(Debug)]
pub struct Server<S> {
    service: Arc<S>,
    config: Config,
    tls: Option<Arc<Tls>>,
    observer: Arc<dyn Observer>,
    connections: TaskTracker,
    slots: Arc<ConnectionSlots>,
    budget: Budget,
    streams: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    closing: AtomicBool,
    goaway: CancellationToken,
    close: CancellationToken,
}

/// Refusals written at once; beyond that a connection is closed without a response.
const MAX_REFUSALS: usize = 64;
/// Time in which busy clients receive `Connection: close` before idle connections are closed.
const CLOSE_NOTICE: Duration = Duration::from_secs(1);
/// Bytes of a response that TLS buffers for a client that reads none: one record.
const TLS_BUFFER: usize = 16 << 10;
/// Pause after an accept that failed, as it does while there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl<S: Service> Server<S> {
    /// Makes a server without connections; a plain one without `tls`. It refuses connections over its limit.
    #[must_use]
    pub fn new(
        service: Arc<S>,
        config: Config,
        tls: Option<Arc<Tls>>,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        let budget = Budget::new(config.max_buffered);
        let bounds = ServerBounds {
            policy: EvictionPolicy::RefuseNew,
            budget,
        };
        Self::bounded(service, config, tls, observer, bounds)
    }

    /// Makes a server within the given bounds.
    #[must_use]
    pub fn bounded(
        service: Arc<S>,
        config: Config,
        tls: Option<Arc<Tls>>,
        observer: Arc<dyn Observer>,
        ServerBounds { policy, budget }: ServerBounds,
    ) -> Arc<Self> {
        let slots = ConnectionSlots::new(config.max_connections as usize, policy);
        let streams = Arc::new(Semaphore::new(config.max_streams as usize));
        Arc::new(Self {
            service,
            config,
            tls,
            observer,
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

    /// Accepts connections until `stop`. It never waits for a client, so that none delays the next.
    pub async fn accept(self: Arc<Self>, bound: BoundSocket, stop: CancellationToken) {
        while let Some(accepted) = stop.run_until_cancelled(bound.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => {
                    self.observer.accepted();
                    accepted
                }
                Err(error) => {
                    self.observer.accept_failed(&error);
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
        self.observer.opened();
        let _open = OpenConnection(&*self.observer);
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
            Err(why) => return self.observer.handshake_failed(&why, &peer),
        };
        self.observer.handshake_succeeded();
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

    /// Returns the time in which a client must take at least one byte of a response.
    fn write_limit(&self) -> Duration {
        self.config.write_timeout.0.min(self.config.idle_timeout.0)
    }

    /// Returns the token that is cancelled when this connection must end, by eviction or by [`drain`](Self::drain).
    fn close_token<'a>(&'a self, slot: &'a ConnectionSlot) -> &'a CancellationToken {
        slot.close_token().unwrap_or(&self.close)
    }

    /// Answers a connection beyond the limit in the API's shape, without reading it. A handshake for
    /// that would be more work than an answer: a TLS client finds it closed.
    async fn refuse(self: Arc<Self>, mut stream: SocketStream) {
        self.observer.refused();
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

    /// Ends every connection. Each response from now on has `Connection: close`, HTTP/2 clients get GOAWAY, then
    /// idle connections are closed, and the rest have until `deadline`. Returns the number of connections that
    /// were still open then.
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

/// Reports the end of a connection when it is dropped.
struct OpenConnection<'a>(&'a dyn Observer);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// Returns whether the service accepted the request's sender; always, where it requires no authentication.
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
