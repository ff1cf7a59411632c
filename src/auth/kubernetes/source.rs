//! Origin of the issuer's public keys: the API server, another HTTPS server, or a file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Config;
use super::keys::{self, InvalidKeySet, IssuerKeys};
use crate::bounded_read;
use crate::transport::{BuildError, Client, Section, TransportConfig, TransportError};

/// Place that the keys are loaded from.
#[derive(Debug)]
pub(super) enum KeySource {
    File(PathBuf),
    Server(Box<KeyServer>),
}

/// HTTP server that has the keys.
#[derive(Debug)]
pub(super) struct KeyServer {
    client: Client,
    uri: Uri,
    /// File with a token for the server. It is replaced while it is in use, so it is read each time.
    token_file: Option<PathBuf>,
}

/// Failure to load the keys.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeysError {
    /// A file could not be read.
    #[error("cannot read {path}")]
    File {
        /// Path of the file.
        path: String,
        /// Error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// The token for the server cannot stand in a header.
    #[error("the token in auth.kubernetes.token_file cannot be sent in a header")]
    Token,
    /// The connection failed before a whole response came.
    #[error("no response from the server of the keys")]
    Unanswered(#[source] TransportError),
    /// No whole response came within ten seconds.
    #[error("no response from the server of the keys in time")]
    Timeout,
    /// The server refused the request.
    #[error("the server of the keys refused with status {0}")]
    Refused(u16),
    /// The keys cannot be used.
    #[error("the keys cannot be used")]
    Invalid(#[from] InvalidKeySet),
}

/// Time for connection and response together.
const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl KeySource {
    /// Returns the source that the settings name; `None` for none, or for a URL that is no URL.
    ///
    /// # Errors
    /// [`BuildError`] for an unusable CA file.
    pub(super) fn of(config: &Config) -> Result<Option<Self>, BuildError> {
        if let Some(file) = &config.jwks_file {
            return Ok(Some(Self::File(file.into())));
        }
        let uri = config.jwks_url.as_deref().and_then(|url| url.parse().ok());
        let Some(uri) = uri else { return Ok(None) };
        let client = Client::new(&TransportConfig {
            section: Section::Kubernetes,
            ca_file: config.ca_file.clone(),
            proxy: None,
            unix: None,
            connect_timeout: CONNECT_TIMEOUT,
            // One request in minutes: the server would have closed the connection.
            idle_timeout: Duration::ZERO,
            max_body: keys::MAX_LENGTH as u64,
        })?;
        Ok(Some(Self::Server(Box::new(KeyServer {
            client,
            uri,
            token_file: config.token_file.as_ref().map(PathBuf::from),
        }))))
    }

    /// Loads the keys, with the text that they came in.
    ///
    /// # Errors
    /// [`LoadKeysError`], within ten seconds.
    pub(super) async fn load(&self) -> Result<(IssuerKeys, Bytes), LoadKeysError> {
        let json = match self {
            Self::File(path) => read(path).await?,
            Self::Server(server) => server.fetch().await?,
        };
        Ok((IssuerKeys::parse(&json)?, json))
    }
}

/// Checks the keys in a file without using them. A file that cannot be read is another check's.
///
/// # Errors
/// The defect, with the remedy.
pub fn check_file(path: &str) -> Result<(), String> {
    let Ok(json) = bounded_read::read(Path::new(path)) else {
        return Ok(());
    };
    IssuerKeys::parse(&json)
        .map(drop)
        .map_err(|error| format!("{error}: write what the issuer's jwks_uri returns"))
}

impl KeyServer {
    async fn fetch(&self) -> Result<Bytes, LoadKeysError> {
        let token = match &self.token_file {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let request = request(&self.uri, token.as_deref())?;
        let reply = timeout(DEADLINE, self.client.fetch(request))
            .await
            .map_err(|_| LoadKeysError::Timeout)?
            .map_err(LoadKeysError::Unanswered)?;
        match reply.status {
            200 => Ok(reply.body),
            status => Err(LoadKeysError::Refused(status)),
        }
    }
}

fn request(uri: &Uri, token: Option<&[u8]>) -> Result<Request<Full<Bytes>>, LoadKeysError> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    let accepted = HeaderValue::from_static("application/jwk-set+json, application/json");
    headers.insert(header::ACCEPT, accepted);
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    let agent = concat!("pai-image-gateway/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    if let Some(token) = token {
        let value = [b"Bearer ", token.trim_ascii()].concat();
        let mut value = HeaderValue::try_from(value).map_err(|_| LoadKeysError::Token)?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

async fn read(path: &Path) -> Result<Bytes, LoadKeysError> {
    let read = path.to_owned();
    let read = spawn_blocking(move || bounded_read::read(&read)).await;
    let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
    read.map(Bytes::from).map_err(|cause| LoadKeysError::File {
        path: path.display().to_string(),
        cause,
    })
}
