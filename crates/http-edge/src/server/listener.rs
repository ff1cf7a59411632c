//! Sockets to listen on: TCP, or a Unix socket with its own permissions.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::peer::Peer;

/// A connection.
pub(super) type SocketStream = Either<TcpStream, UnixStream>;

impl BindError {
    /// Returns the remedy for the operator; `setting` is the setting that holds the address.
    #[must_use]
    pub fn remedy(&self, setting: &str) -> String {
        match self.cause.kind() {
            io::ErrorKind::AddrInUse => {
                format!("stop the process that listens there, or set {setting} to another address")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("set {setting} to an address of this machine")
            }
            io::ErrorKind::PermissionDenied => {
                format!("give this user the right to it, or set {setting} to another address")
            }
            _ => format!("set {setting} to another address"),
        }
    }
}

/// Address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// IP address and port.
    Tcp(SocketAddr),
    /// Path and permissions of a Unix socket.
    Unix(PathBuf, u32),
}

/// Error of binding an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct BindError {
    address: Address,
    #[source]
    cause: io::Error,
}

/// Listening socket. Dropping it removes the file of a Unix socket, unless another process created that file.
#[derive(Debug)]
pub struct BoundSocket {
    listener: Listener,
    address: Address,
    is_ours: bool,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Address {
    /// Parses a Unix socket if one is set, else an IP address and port.
    #[must_use]
    pub fn parse(tcp: &str, unix: Option<&str>, mode: u32) -> Option<Self> {
        match unix {
            Some(path) => Some(Self::Unix(path.into(), mode)),
            None => tcp.parse().ok().map(Self::Tcp),
        }
    }

    /// Returns true if only this machine can reach the address.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(..) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path, _) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Binds an address and listens on it.
///
/// # Errors
/// [`BindError`] if the address is in use or not one of this machine.
pub fn bind(address: &Address, backlog: u32) -> Result<BoundSocket, BindError> {
    let listener = match address {
        Address::Tcp(address) => bind_tcp(*address, backlog).map(Listener::Tcp),
        Address::Unix(path, mode) => bind_unix(path, *mode).map(Listener::Unix),
    };
    let bound = listener.and_then(|listener| {
        Ok(BoundSocket {
            address: listener.address(address)?,
            listener,
            is_ours: true,
        })
    });
    bound.map_err(|cause| BindError {
        address: address.clone(),
        cause,
    })
}

/// Returns the socket that was opened for this process before it started, by systemd's protocol
/// (sd_listen_fds(3)); the first one if there are several.
///
/// # Errors
/// Fails if the inherited descriptor is not a listening socket.
pub fn inherited() -> io::Result<Option<BoundSocket>> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() == 0 {
        return Ok(None);
    }
    let (listener, address) = if let Ok(Some(socket)) = sockets.take_tcp_listener(0) {
        socket.set_nonblocking(true)?;
        let address = Address::Tcp(socket.local_addr()?);
        (Listener::Tcp(TcpListener::from_std(socket)?), address)
    } else {
        let socket = sockets
            .take_unix_listener(0)?
            .ok_or_else(|| io::Error::other("the socket that was passed on is gone"))?;
        socket.set_nonblocking(true)?;
        let path = socket.local_addr()?.as_pathname().map(Path::to_owned);
        let address = Address::Unix(path.unwrap_or_default(), 0);
        (Listener::Unix(UnixListener::from_std(socket)?), address)
    };
    Ok(Some(BoundSocket {
        listener,
        address,
        is_ours: false,
    }))
}

/// Listens on TCP; at most `backlog` connections wait in the kernel until they are accepted.
///
/// # Errors
/// Fails if the address is in use or not one of this machine.
pub fn bind_tcp(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Binds a Unix socket. A socket file on which no process listens is left over from a crash and is replaced.
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let left_over =
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if left_over && std::os::unix::net::UnixStream::connect(path).is_err() {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(listener)
}

impl Listener {
    fn address(&self, asked: &Address) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_) => Ok(asked.clone()),
        }
    }
}

impl BoundSocket {
    /// Returns the address that it listens on; port 0 has been replaced by the chosen port.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) async fn accept(&self) -> io::Result<(SocketStream, Peer)> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let peer = Peer {
                    address: Some(address),
                    ..Peer::default()
                };
                Ok((Either::Left(stream), peer))
            }
            Listener::Unix(listener) => {
                Ok((Either::Right(listener.accept().await?.0), Peer::default()))
            }
        }
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if let Address::Unix(path, _) = &self.address
            && self.is_ours
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(%error, path = %path.display(), "the socket's file was gone already");
        }
    }
}
