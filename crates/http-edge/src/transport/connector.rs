//! Connector of the pool: TCP or a Unix socket, the proxy's tunnel and TLS within one time limit; failures carry cause and remedy.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use super::connection::{ByteStream, RecordedStream};
use super::error::{ConnectTarget, authority};
use super::tls::tls;
use super::{BuildError, ConnectError, Proxy, Section, TransportConfig};

/// Service that opens a stream to the host of a URI.
type Dial = BoxCloneSyncService<Uri, Box<dyn ByteStream>, BoxError>;

/// Connector that the pool opens its connections with.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    direct: Dial,
    tls: ClientConfig,
    proxy: Option<Proxy>,
    unix: Option<PathBuf>,
    section: Section,
    limit: Duration,
}

impl Connector {
    /// # Errors
    /// [`BuildError`] for a CA file that cannot be used.
    pub(super) fn new(settings: &TransportConfig) -> Result<Self, BuildError> {
        let tls = tls(settings.ca_file.as_deref())?;
        Ok(Self {
            direct: match &settings.unix {
                Some(path) => unix(path.clone()),
                None => boxed(over_tls(&tls, tcp())),
            },
            tls,
            proxy: settings.proxy.clone(),
            unix: settings.unix.clone(),
            section: settings.section,
            limit: settings.connect_timeout,
        })
    }

    /// Returns the service that reaches an address, directly or through the proxy, and its name in errors.
    fn way(&self, uri: &Uri) -> (Dial, ConnectTarget) {
        let peer = ConnectTarget::new(uri, self.section);
        if let Some(path) = &self.unix {
            return (self.direct.clone(), peer.at_socket(path));
        }
        let Some(hop) = self.proxy.as_ref().and_then(|proxy| proxy.hop(uri)) else {
            return (self.direct.clone(), peer);
        };
        let peer = peer.through(&hop.address);
        let mut tunnel = Tunnel::new(hop.address, over_tls(&self.tls, tcp()));
        if let Some(authorization) = hop.authorization {
            tunnel = tunnel.with_auth(authorization);
        }
        (boxed(over_tls(&self.tls, tunnel)), peer)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<RecordedStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (dial, peer) = self.way(&uri);
        let (limit, dialling) = (self.limit, dial.oneshot(with_port(uri)));
        Box::pin(async move {
            match timeout(limit, dialling).await {
                Ok(Ok(stream)) => Ok(TokioIo::new(RecordedStream::new(stream))),
                Ok(Err(error)) => Err(peer.cannot_connect(&*error)),
                Err(_) => Err(peer.no_connection_within(limit)),
            }
        })
    }
}

/// Writes out the port of an address, because a tunnel would assume 443 for `http` too.
fn with_port(uri: Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.authority = authority(&uri).parse().ok();
    Uri::from_parts(parts).unwrap_or(uri)
}

/// Adds TLS to a connector for `https` addresses.
fn over_tls<H>(config: &ClientConfig, inner: H) -> HttpsConnector<H> {
    HttpsConnectorBuilder::new()
        .with_tls_config(config.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(inner)
}

/// Returns the service that opens a stream to a Unix socket, whatever the URI.
fn unix(path: PathBuf) -> Dial {
    BoxCloneSyncService::new(tower::service_fn(move |_| {
        let path = path.clone();
        async move {
            let stream = UnixStream::connect(path).await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        }
    }))
}

fn tcp() -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(Duration::from_secs(60)));
    http
}

fn boxed<S>(connector: S) -> Dial
where
    S: Service<Uri, Error = BoxError> + Clone + Send + Sync + 'static,
    S::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    S::Future: Send,
{
    let dial =
        connector.map_response(|stream| Box::new(TokioIo::new(stream)) as Box<dyn ByteStream>);
    BoxCloneSyncService::new(dial)
}
