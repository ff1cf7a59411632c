//! Failures of an exchange, with the host that was addressed and the remedy for the operator.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use rustls::CertificateError;

use super::{Connection, Section};
use host::error_chain::error_chain;

/// Failure of one exchange: no whole response that can be used.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection could be opened; nothing was sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A pooled connection ended before a byte of this response: the server had closed it while idle. A read may be
    /// sent again, on a [`NewConnection`](super::NewConnection).
    #[error("the idle connection had been closed: {0}")]
    Stale(String),
    /// The connection broke, or the bytes received are not HTTP.
    #[error("connection: {0}")]
    Connection(String),
    /// The response exceeds the limit of the settings.
    #[error("the answer is too long")]
    TooLong,
    /// The response's content encoding is unknown or broken.
    #[error("the answer's content encoding cannot be undone")]
    Encoding,
    /// The request is malformed and was not sent.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
}

impl TransportError {
    /// Returns whether a whole response came that cannot be used, so that the server is reachable.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        matches!(self, Self::TooLong | Self::Encoding)
    }
}

/// Failure to open a connection: the host, the cause and the remedy, as one line of text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot connect to {peer}: {cause}; {remedy}")]
pub struct ConnectError {
    peer: String,
    cause: String,
    remedy: String,
}

/// Settings that no client can be built from.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The CA file cannot be read.
    #[error("cannot read the CA file {path}: {reason}")]
    CaFile {
        /// Path of the file.
        path: String,
        /// Problem of the file.
        reason: String,
    },
    /// The proxy cannot be used.
    #[error("{key}: {reason}")]
    Proxy {
        /// Name of the setting or variable.
        key: String,
        /// Remedy.
        reason: String,
    },
    /// TLS refuses the configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Host that a connection is opened to, for error texts.
#[derive(Debug)]
pub(super) struct ConnectTarget {
    /// Host and port, and those of the proxy on the way.
    name: String,
    /// True where the connection goes through a proxy.
    proxied: bool,
    section: Section,
}

impl ConnectTarget {
    /// Returns the host of an address; `section` names the settings that the remedies refer to.
    pub(super) fn new(uri: &Uri, section: Section) -> Self {
        Self {
            name: authority(uri),
            proxied: false,
            section,
        }
    }

    /// Returns the host as reached through the proxy at this address.
    pub(super) fn through(self, proxy: &Uri) -> Self {
        Self {
            name: format!("{} through the proxy {}", self.name, authority(proxy)),
            proxied: true,
            ..self
        }
    }

    /// Returns the host as reached through a Unix socket.
    pub(super) fn at_socket(self, path: &Path) -> Self {
        Self {
            name: format!("unix:{}", path.display()),
            ..self
        }
    }

    pub(super) fn cannot_connect(self, error: &(dyn Error + 'static)) -> ConnectError {
        ConnectError {
            cause: error_chain(error),
            remedy: self.remedy(error),
            peer: self.name,
        }
    }

    pub(super) fn no_connection_within(self, limit: Duration) -> ConnectError {
        ConnectError {
            cause: format!("no connection within {} s", limit.as_secs_f64()),
            remedy: self.route(),
            peer: self.name,
        }
    }

    fn remedy(&self, error: &(dyn Error + 'static)) -> String {
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(problem)) => self.trust(problem),
            Some(rustls::Error::InvalidMessage(_)) => format!(
                "this port does not speak TLS: write the port that does, or http://{}",
                self.allow_http()
            ),
            Some(_) => "no version or cipher of TLS 1.2 or 1.3 suits both sides".to_owned(),
            None if self.proxied => self.past_proxy(error),
            None if is_lookup(error) => {
                format!("check the host's spelling and the DNS here{}", self.proxy())
            }
            None => self.route(),
        }
    }

    fn trust(&self, problem: &CertificateError) -> String {
        match problem {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "renew the certificate there, or correct the clock here".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is of another host: check the address".to_owned()
            }
            _ => format!(
                "set {} to the PEM file of the authority that issued the certificate",
                self.section.setting("ca_file")
            ),
        }
    }

    /// Returns the remedy for a tunnel that was not opened. hyper-util's errors differ in their texts alone.
    fn past_proxy(&self, error: &(dyn Error + 'static)) -> String {
        let said = error_chain(error);
        let credentials = self.section.setting("proxy_credentials_file");
        if said.contains("proxy authorization required") {
            format!("give {credentials} a user and password that the proxy takes")
        } else if said.contains("unsuccessful") {
            // A few proxies answer a wrong password with 401 or 403 rather than 407.
            format!(
                "the proxy refuses the tunnel: allow CONNECT to this host and port there, and check {credentials}"
            )
        } else {
            format!(
                "check {} and the network up to there",
                self.section.setting("proxy")
            )
        }
    }

    fn route(&self) -> String {
        if self.proxied {
            return format!(
                "check {} and the network behind it",
                self.section.setting("proxy")
            );
        }
        format!("check the address and the network{}", self.proxy())
    }

    fn proxy(&self) -> &'static str {
        match self.section {
            Section::Upstream => ", or set upstream.proxy where a proxy is the only way out",
            Section::Credentials => ", or set credentials.proxy where a proxy is the only way out",
            Section::Traces | Section::Kubernetes | Section::Command => "",
        }
    }

    fn allow_http(&self) -> String {
        match self.section {
            Section::Command => String::new(),
            section => format!(" with {} = true", section.setting("allow_http")),
        }
    }
}

/// Returns host and port of an address; the port is the scheme's default where none is written.
pub(super) fn authority(uri: &Uri) -> String {
    let default = if uri.scheme() == Some(&Scheme::HTTP) {
        80
    } else {
        443
    };
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16());
    format!("{host}:{}", port.unwrap_or(default))
}

/// Classifies the failure of a request that got no response.
pub(super) fn exchange_error(
    error: &hyper_util::client::legacy::Error,
    connection: &Connection,
) -> TransportError {
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<ConnectError>()) {
        return error.clone().into();
    }
    let unsent = causes(error)
        .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_canceled);
    if connection.is_reused_and_silent() || (unsent && connection.answers() > 0) {
        TransportError::Stale(error_chain(error))
    } else {
        TransportError::Connection(error_chain(error))
    }
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn is_lookup(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.to_string().starts_with("dns error"))
}

/// Iterates over the error and its causes, including those within an [`io::Error`], which it hides from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let within = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        within.or_else(|| error.source())
    })
}
