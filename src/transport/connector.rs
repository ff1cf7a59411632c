//! Opening a connection: TCP and TLS within one time limit, and a cause with a remedy where it fails.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use super::connection::{Recorded, Stream};
use super::error::Peer;
use super::tls::tls;
use super::{BuildError, ConnectError, Section, Settings};

/// Opens a stream to the host of an address.
type Dial = BoxCloneSyncService<Uri, Box<dyn Stream>, BoxError>;

/// Connector of the pool.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    dial: Dial,
    section: Section,
    limit: Duration,
}

impl Connector {
    /// # Errors
    /// [`BuildError`] for a CA file that cannot be used.
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        Ok(Self {
            dial: direct(settings)?,
            section: settings.section,
            limit: settings.connect_timeout,
        })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Recorded>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let peer = Peer::new(&uri, self.section);
        let (limit, dialling) = (self.limit, self.dial.clone().oneshot(uri));
        Box::pin(async move {
            match timeout(limit, dialling).await {
                Ok(Ok(stream)) => Ok(TokioIo::new(Recorded::new(stream))),
                Ok(Err(error)) => Err(peer.cannot_connect(&*error)),
                Err(_) => Err(peer.no_connection_within(limit)),
            }
        })
    }
}

/// Connects to the host itself.
fn direct(settings: &Settings) -> Result<Dial, BuildError> {
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(settings.ca_file.as_deref())?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp());
    Ok(boxed(https))
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
    let dial = connector.map_response(|stream| Box::new(TokioIo::new(stream)) as Box<dyn Stream>);
    BoxCloneSyncService::new(dial)
}
