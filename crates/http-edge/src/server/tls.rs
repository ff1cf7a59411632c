//! TLS on the data port. The parsed files are one value, which each handshake reads afresh.
//!
//! A change of the files does not affect open connections: each keeps the parameters of its handshake. The
//! handshake also selects the protocol, `h2` or `http/1.1` (ALPN, RFC 7301).

mod expiry;
mod files;

pub use files::{TlsFileError, TlsFileErrors, read};

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::{InvalidMessage, ServerConfig, ServerConnection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use super::listener::SocketStream;
use host::units::HumanDuration;

/// The `[listen.tls]` settings; without its files the port is a plain one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// PEM file of the certificate and those between it and its root, in this order.
    pub cert_file: Option<String>,
    /// PEM file of the certificate's key.
    pub key_file: Option<String>,
    /// PEM file of the roots by which clients' certificates are verified; without it none is asked for.
    pub client_ca_file: Option<String>,
    /// Time for a TLS handshake.
    pub handshake_timeout: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            client_ca_file: None,
            handshake_timeout: HumanDuration::secs(5),
        }
    }
}

impl Config {
    /// Returns true if any of its files is set.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.cert_file.is_some() || self.key_file.is_some() || self.client_ca_file.is_some()
    }

    /// Returns the paths of the files that are set.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        [&self.cert_file, &self.key_file, &self.client_ca_file]
            .into_iter()
            .flatten()
            .map(PathBuf::from)
            .collect()
    }
}

/// Contents of the files, parsed.
#[derive(Debug)]
pub struct LoadedTls {
    /// The settings of a handshake.
    pub config: Arc<ServerConfig>,
    /// The end of the certificate's validity, in seconds since 1970.
    pub not_after: Option<u64>,
}

/// TLS state of the port; it is replaced as a whole when its files change.
#[derive(Debug)]
pub struct Tls {
    config: Config,
    current: ArcSwap<LoadedTls>,
}

/// The cause of a handshake without a connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client's first byte was no TLS.
    #[error("what came was no TLS")]
    Plain,
    /// One side rejected the handshake.
    #[error("{0}")]
    Refused(rustls::Error),
    /// The client disconnected, as a load balancer's check of the port does.
    #[error("the client hung up: {0}")]
    HungUp(io::Error),
    /// It did not end in time.
    #[error("the handshake did not end in time")]
    Timeout,
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let cause = error.get_ref();
        match cause.and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::Plain,
            Some(refused) => Self::Refused(refused.clone()),
            None => Self::HungUp(error),
        }
    }
}

impl Tls {
    /// Reads the files; returns `None` if the settings name none.
    ///
    /// # Errors
    /// [`TlsFileErrors`], each of them.
    pub fn load(config: &Config) -> Result<Option<Arc<Self>>, TlsFileErrors> {
        if !config.is_on() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Self {
            config: config.clone(),
            current: ArcSwap::from_pointee(read(config)?),
        })))
    }

    /// Reads the files again, for handshakes from now on.
    ///
    /// # Errors
    /// [`TlsFileErrors`]; the old ones stay in force.
    pub fn reload(&self) -> Result<(), TlsFileErrors> {
        self.current.store(Arc::new(read(&self.config)?));
        Ok(())
    }

    /// Returns the end of the served certificate's validity, in seconds since 1970; `None` if it cannot be
    /// parsed.
    #[must_use]
    pub fn not_after(&self) -> Option<u64> {
        self.current.load().not_after
    }

    /// Performs the handshake, within its time limit.
    pub(super) async fn accept(
        &self,
        stream: SocketStream,
    ) -> Result<TlsStream<SocketStream>, HandshakeError> {
        let handshake = TlsAcceptor::from(Arc::clone(&self.current.load().config)).accept(stream);
        match timeout(self.config.handshake_timeout.0, handshake).await {
            Ok(shaken) => Ok(shaken?),
            Err(_) => Err(HandshakeError::Timeout),
        }
    }
}

/// Returns the names in the client's certificate; none without a certificate.
///
/// rustls has verified it against the roots. A URI without a scheme is left out: it could pass for a
/// DNS name.
pub(super) fn client_names(session: &ServerConnection) -> Arc<[String]> {
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    leaf.map_or_else(|| Arc::from([]), names)
}

fn names(leaf: &CertificateDer<'_>) -> Arc<[String]> {
    let Ok(certificate) = EndEntityCert::try_from(leaf) else {
        return Arc::from([]);
    };
    let uris = certificate
        .valid_uri_names()
        .filter(|name| name.contains(':'));
    uris.chain(certificate.valid_dns_names())
        .map(str::to_owned)
        .collect()
}
