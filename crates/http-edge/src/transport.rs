//! HTTP and HTTPS client: a pool of keep-alive connections that never sends a request twice on its own.
//!
//! - [`Client`] is made from a [`TransportConfig`]; nothing is connected before the first request. It sends a request
//!   and returns the head of the response, or the whole; [`Transport`] is the same as a tower service.
//! - [`connector`](self) opens a connection within its own time limit, and explains a failure with a remedy.
//! - [`Proxy`] tunnels each connection, where the settings name one.
//! - [`connection`](self) observes the bytes of a connection, to recognize one that the server had closed while idle.
//! - [`Reply`] is a whole response, decoded within bounds.
//!
//! Responses are parsed as leniently as the vendor's SDKs parse them (white space before a colon, folded lines,
//! invalid header lines, up to [`MAX_HEADERS`] headers), but never where two parsers could disagree on where a response
//! ends: different lengths are an error, and the connection is closed.

mod connection;
mod connector;
mod decode;
mod error;
mod framing;
mod proxy;
mod reply;
mod tls;

pub use connection::Connection;
pub use error::{BuildError, ConnectError, TransportError};
pub use proxy::{InvalidProxy, Proxy};
pub use reply::Reply;
pub use tls::{roots, trust};

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Builder, Client as Pool};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::util::BoxCloneSyncService;

use connector::Connector;

/// Client: a service that sends one request and returns its whole response. Clones share the pool.
pub type Transport = BoxCloneSyncService<Request<Full<Bytes>>, Reply, TransportError>;

/// Number of headers of a response that are accepted. The vendor's SDKs accept any number; proxies on the way add up to
/// hundreds.
pub const MAX_HEADERS: usize = 1000;

/// Length of the longest response head that is accepted, in bytes.
const MAX_HEAD: usize = 256 << 10;

/// Section of the gateway's settings that a client belongs to; remedies in errors name its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `[upstream]`.
    Upstream,
    /// `[credentials]`.
    Credentials,
    /// `[traces]`.
    Traces,
    /// `[auth.kubernetes]`.
    Kubernetes,
    /// None: the arguments of a command.
    Command,
}

impl Section {
    /// Returns the name of one of the section's settings: `upstream.ca_file`, or `--ca-file` of a command.
    #[must_use]
    pub fn setting(self, key: &str) -> String {
        let section = match self {
            Self::Upstream => "upstream",
            Self::Credentials => "credentials",
            Self::Traces => "traces",
            Self::Kubernetes => "auth.kubernetes",
            Self::Command => return format!("--{}", key.replace('_', "-")),
        };
        format!("{section}.{key}")
    }
}

/// Settings of one client.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// Section that the settings come from.
    pub section: Section,
    /// PEM file of roots to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Proxy that connections go through.
    pub proxy: Option<Proxy>,
    /// Unix socket that every connection is opened to, instead of the host of a request's URI.
    pub unix: Option<PathBuf>,
    /// Time limit of a connection's set-up, TLS and the tunnel through a proxy included.
    pub connect_timeout: Duration,
    /// Time after which an idle connection is closed; zero pools none.
    pub idle_timeout: Duration,
    /// Size of the largest response body, in bytes, encoded and decoded alike.
    pub max_body: u64,
}

/// Request extension that asks for a new connection, which is closed after the response.
///
/// The server may have closed a pooled connection a moment ago. A request that must not be sent twice, and one that has
/// already met such a connection, carries this.
#[derive(Debug, Clone, Copy)]
pub struct NewConnection;

/// Client with its pool; clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    pooled: Pool<Connector, Full<Bytes>>,
    unpooled: Pool<Connector, Full<Bytes>>,
    /// Size of the largest response body that [`fetch`](Self::fetch) returns, in bytes.
    limit: usize,
}

impl Client {
    /// Makes a client. Nothing is connected yet.
    ///
    /// # Errors
    /// [`BuildError`] for an unusable CA file.
    pub fn new(settings: &TransportConfig) -> Result<Self, BuildError> {
        let connector = Connector::new(settings)?;
        let keep_alive = if settings.idle_timeout.is_zero() {
            0
        } else {
            usize::MAX
        };
        Ok(Self {
            pooled: builder(settings)
                .pool_max_idle_per_host(keep_alive)
                .build(connector.clone()),
            unpooled: builder(settings).pool_max_idle_per_host(0).build(connector),
            limit: usize::try_from(settings.max_body).unwrap_or(usize::MAX),
        })
    }

    /// Sends a request and returns the head of the response with its body unread, and the connection. Only the
    /// connection's set-up has a time limit of its own.
    ///
    /// # Errors
    /// [`TransportError`] without a response.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), TransportError> {
        let connection = Connection::capture(&mut request);
        let pool = match request.extensions().get::<NewConnection>() {
            Some(NewConnection) => &self.unpooled,
            None => &self.pooled,
        };
        match pool.request(request).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => Err(error::exchange_error(&error, &connection)),
        }
    }

    /// Sends a request and returns the whole response, decoded. Only the connection's set-up has a time limit of its
    /// own.
    ///
    /// # Errors
    /// [`TransportError`] without a whole response within the limit of its length.
    pub async fn fetch(&self, request: Request<Full<Bytes>>) -> Result<Reply, TransportError> {
        let (response, connection) = self.send(request).await?;
        reply::collect(response, connection, self.limit).await
    }
}

/// Builds a client as a service. Nothing is connected yet.
///
/// # Errors
/// [`BuildError`] for an unusable CA file.
pub fn build(settings: &TransportConfig) -> Result<Transport, BuildError> {
    let client = Client::new(settings)?;
    Ok(BoxCloneSyncService::new(tower::service_fn(
        move |request| {
            let client = client.clone();
            async move { client.fetch(request).await }
        },
    )))
}

fn builder(settings: &TransportConfig) -> Builder {
    let mut builder = Pool::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle_timeout)
        // A retry of the pool would send the same signature and nonce again, which the origin rejects.
        .retry_canceled_requests(false)
        .http1_max_headers(MAX_HEADERS)
        .http1_max_buf_size(MAX_HEAD)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true);
    builder
}

#[cfg(test)]
mod tests;
