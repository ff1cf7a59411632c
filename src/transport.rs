//! HTTP and HTTPS towards others: a pool of keep-alive connections that never re-sends on its own.

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tower::util::BoxCloneSyncService;

use crate::telemetry::told;

/// Sends one request and reads its whole answer.
pub type Transport = BoxCloneSyncService<Request<Full<Bytes>>, Reply, TransportError>;

/// What a transport is made with.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// PEM file of roots to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Idle connections are closed after this.
    pub idle_timeout: Duration,
    /// Longest answer read, in bytes.
    pub max_body: u64,
}

/// A whole answer, decoded.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, without content encoding.
    pub body: Bytes,
}

/// No whole answer came.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("connection: {0}")]
    Connection(String),
    /// The answer is longer than is read.
    #[error("the answer is too long")]
    TooLong,
    /// The answer's encoding is unknown or broken.
    #[error("the answer's content encoding cannot be undone")]
    Encoding,
    /// The request cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The CA file cannot be read.
    #[error("cannot read the CA file {path}: {reason}")]
    CaFile {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS refuses the configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Reply {
    /// The origin's `Date`.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        let date = httpdate::parse_http_date(self.header(header::DATE.as_str())).ok()?;
        Timestamp::try_from(date).ok()
    }

    /// The origin's id of this answer; empty when it gave none.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.header("x-acs-request-id")
    }

    /// How long the origin asks us to wait: a positive whole number of milliseconds, or nothing.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let milliseconds: u64 = self.header("x-acs-retry-after").parse().ok()?;
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    }

    /// A header's text; empty when it is absent or no text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }
}

/// Makes the client. Nothing is connected yet.
///
/// # Errors
/// [`BuildError`] for a CA file that cannot be used.
pub fn connect(settings: &Settings) -> Result<Transport, BuildError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(settings.connect_timeout));
    http.set_keepalive(Some(Duration::from_secs(60)));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(settings)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle_timeout)
        // It would send the same signature and nonce again.
        .retry_canceled_requests(false)
        .build(https);
    let limit = usize::try_from(settings.max_body).unwrap_or(usize::MAX);
    Ok(BoxCloneSyncService::new(tower::service_fn(
        move |request| {
            let response = client.request(request);
            async move {
                let response = response
                    .await
                    .map_err(|error| TransportError::Connection(told(&error)))?;
                collect(response, limit).await
            }
        },
    )))
}

async fn collect(response: Response<Incoming>, limit: usize) -> Result<Reply, TransportError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            TransportError::TooLong
        } else {
            TransportError::Connection(told(&*error))
        }
    })?;
    let reply = Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.to_bytes(),
    };
    decode(reply, limit)
}

/// Undoes gzip, which the origin may send although it was asked not to.
fn decode(mut reply: Reply, limit: usize) -> Result<Reply, TransportError> {
    match reply
        .header(header::CONTENT_ENCODING.as_str())
        .to_ascii_lowercase()
        .as_str()
    {
        "" | "identity" => return Ok(reply),
        "gzip" | "x-gzip" => {}
        _ => return Err(TransportError::Encoding),
    }
    let mut plain = Vec::new();
    let mut decoder = MultiGzDecoder::new(&*reply.body).take(limit as u64 + 1);
    decoder
        .read_to_end(&mut plain)
        .map_err(|_| TransportError::Encoding)?;
    if plain.len() > limit {
        return Err(TransportError::TooLong);
    }
    reply.headers.remove(header::CONTENT_ENCODING);
    Ok(Reply {
        body: plain.into(),
        ..reply
    })
}

/// Trusts the given CA file alone, else the system's roots, else (an image without any) Mozilla's.
pub(crate) fn tls(settings: &Settings) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
    };
    if let Some(path) = &settings.ca_file {
        return Ok(builder()?
            .with_root_certificates(read_roots(path)?)
            .with_no_client_auth());
    }
    match builder()?.with_platform_verifier() {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        Err(error) => {
            tracing::info!(%error, "no system roots to trust; using Mozilla's");
            let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
            Ok(builder()?
                .with_root_certificates(RootCertStore { roots })
                .with_no_client_auth())
        }
    }
}

fn read_roots(path: &str) -> Result<RootCertStore, BuildError> {
    let bad = |reason: String| BuildError::CaFile {
        path: path.to_owned(),
        reason,
    };
    let pem = fs::read(path).map_err(|error: io::Error| bad(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate in PEM form".to_owned()));
    }
    Ok(roots)
}
