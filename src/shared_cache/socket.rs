//! Socket to one server: TCP, TLS over it, or a Unix socket.

use std::io;
use std::sync::Arc;

use redis::ConnectionAddr;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::connection::{ConnectionError, Pem};
use super::meter::Metered;
use crate::transport;

/// Byte stream of any of the three kinds.
pub(super) trait IoStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> IoStream for S {}

/// Connects, and bounds the length of each reply. Connecting has no deadline of its own; the caller sets one.
///
/// # Errors
/// [`ConnectionError`] where the address, the handshake or a PEM file fails.
pub(super) async fn open(
    address: &ConnectionAddr,
    pem: &Pem,
) -> Result<Metered<Box<dyn IoStream>>, ConnectionError> {
    let stream: Box<dyn IoStream> = match address {
        ConnectionAddr::Tcp(host, port) => Box::new(tcp(host, *port).await?),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::new(client_config(pem)?));
            let stream = tcp(host, *port).await?;
            Box::new(connector.connect(name, stream).await?)
        }
        ConnectionAddr::Unix(path) => Box::new(UnixStream::connect(path).await?),
        // A later version of the library may know other kinds, which `Config::check_url` refuses.
        _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
    };
    Ok(Metered::new(stream))
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn client_config(pem: &Pem) -> Result<ClientConfig, ConnectionError> {
    let roots = pem
        .roots
        .as_ref()
        .map(|roots| transport::roots("shared_cache.ca_file", roots))
        .transpose()?;
    let trusting = transport::trust(roots)?;
    let Some((certificate, key)) = &pem.identity else {
        return Ok(trusting.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>();
    let chain: Vec<_> = chain.map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
    let config = trusting.with_client_auth_cert(chain, key);
    Ok(config.map_err(io::Error::other)?)
}
