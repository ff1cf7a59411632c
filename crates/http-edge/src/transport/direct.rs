//! Client on one connection of its own, for the commands: no pool, no retry, and a response that is read as it comes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::connection::ByteStream;
use super::tls::tls;

/// Address that a [`DirectClient`] connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Host name or IP address, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// Certificate that the server must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    /// DNS name or IP address in the certificate.
    pub name: String,
    /// PEM file of roots to trust instead of the system's.
    pub ca_file: Option<String>,
}

/// Open HTTP/1.1 connection; dropping it closes the connection.
#[derive(Debug)]
pub struct DirectClient {
    sender: SendRequest<Full<Bytes>>,
    /// Task that moves the bytes; the exchange makes no progress without it.
    _driver: JoinSet<()>,
}

impl DirectClient {
    /// Connects, with TLS where the server has an identity to prove. Has no time limit of its own.
    ///
    /// # Errors
    /// An unreachable address, an unusable CA file, or a certificate that is not valid for the name.
    pub async fn connect(
        endpoint: &Endpoint,
        identity: Option<&ServerIdentity>,
    ) -> io::Result<Self> {
        let stream: Box<dyn ByteStream> = match endpoint {
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Endpoint::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        let stream = match identity {
            Some(identity) => over_tls(stream, identity).await?,
            None => stream,
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        // The exchange that runs into a broken connection reports the error.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self {
            sender,
            _driver: driver,
        })
    }

    /// Sends a request, which must have a `Host`, and returns the response with its body unread.
    ///
    /// # Errors
    /// A connection that breaks before the head of the response.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

async fn over_tls(
    stream: Box<dyn ByteStream>,
    identity: &ServerIdentity,
) -> io::Result<Box<dyn ByteStream>> {
    let config = tls(identity.ca_file.as_deref()).map_err(io::Error::other)?;
    let name = ServerName::try_from(identity.name.clone()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(Box::new(connector.connect(name, stream).await?))
}
