//! HTTP and HTTPS client: a pool of keep-alive connections that never sends a request twice on its own.
//!
//! - [`build`] makes a client from a [`TransportConfig`]; nothing is connected before the first request.
//! - [`connector`](self) opens a connection within its own time limit, and explains a failure with a remedy.
//! - [`Proxy`] tunnels each connection, where the settings name one.
//! - [`connection`](self) observes the bytes of a connection, to recognize one that the server had closed while idle.
//! - [`Reply`] is a whole response, decoded within bounds.
//! - [`DirectClient`] is a single connection without a pool, for the commands.
//!
//! Responses are parsed as leniently as the vendor's SDKs parse them (white space before a colon, folded lines,
//! invalid header lines, up to [`MAX_HEADERS`] headers), but never where two parsers could disagree on where a response
//! ends: different lengths are an error, and the connection is closed.

mod connection;
mod connector;
mod decode;
mod direct;
mod error;
mod framing;
mod proxy;
mod reply;
mod tls;

pub use connection::Connection;
pub use direct::{DirectClient, Endpoint, ServerIdentity};
pub use error::{BuildError, ConnectError, TransportError};
pub use proxy::{InvalidProxy, Proxy};
pub use reply::Reply;
pub use tls::{roots, trust};

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::{Builder, Client};
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
}

impl Section {
    /// Returns the name of the section.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Credentials => "credentials",
            Self::Traces => "traces",
        }
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

/// Builds a client. Nothing is connected yet.
///
/// # Errors
/// [`BuildError`] for an unusable CA file.
pub fn build(settings: &TransportConfig) -> Result<Transport, BuildError> {
    let connector = Connector::new(settings)?;
    let keep_alive = if settings.idle_timeout.is_zero() {
        0
    } else {
        usize::MAX
    };
    let pooled = builder(settings)
        .pool_max_idle_per_host(keep_alive)
        .build(connector.clone());
    let unpooled = builder(settings).pool_max_idle_per_host(0).build(connector);
    let limit = usize::try_from(settings.max_body).unwrap_or(usize::MAX);
    Ok(BoxCloneSyncService::new(tower::service_fn(
        move |mut request: Request<Full<Bytes>>| {
            let connection = Connection::capture(&mut request);
            let client: &Client<_, _> = match request.extensions().get::<NewConnection>() {
                Some(NewConnection) => &unpooled,
                None => &pooled,
            };
            let response = client.request(request);
            async move {
                match response.await {
                    Ok(response) => reply::collect(response, connection, limit).await,
                    Err(error) => Err(error::exchange_error(&error, &connection)),
                }
            }
        },
    )))
}

fn builder(settings: &TransportConfig) -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
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
