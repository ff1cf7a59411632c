//! A connection or a listener, over TCP or a Unix socket alike.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net as unix;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

pub(crate) trait Wire: Read + Write + Source {}

impl Wire for TcpStream {}
impl Wire for UnixStream {}

/// Connects, waiting for it: on one machine that takes as long as a system call.
pub(crate) fn connect(target: &str) -> io::Result<Box<dyn Wire>> {
    if let Some(path) = target.strip_prefix("unix:") {
        let stream = unix::UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        return Ok(Box::new(UnixStream::from_std(stream)));
    }
    let stream = std::net::TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(Box::new(TcpStream::from_std(stream)))
}

pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn bind(listen: &str) -> crate::Outcome<Self> {
        Ok(match listen.strip_prefix("unix:") {
            Some(path) => Self::Unix(UnixListener::bind(path)?),
            None => Self::Tcp(TcpListener::bind(listen.parse::<SocketAddr>()?)?),
        })
    }

    /// Tells where it listens, as the gateway's `--ports-file` does.
    pub(crate) fn tell(&self, ports_file: &str) -> io::Result<()> {
        let address = match self {
            Self::Tcp(listener) => listener.local_addr()?.to_string(),
            Self::Unix(_) => "unix".to_owned(),
        };
        std::fs::write(ports_file, format!("{{\"listen\":\"{address}\"}}"))
    }

    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener) => listener,
        }
    }

    /// The next connection, or `None` when nobody waits.
    pub(crate) fn accept(&self) -> io::Result<Option<Box<dyn Wire>>> {
        let accepted: io::Result<Box<dyn Wire>> = match self {
            Self::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as Box<dyn Wire>)
            }),
            Self::Unix(listener) => listener
                .accept()
                .map(|(stream, _)| Box::new(stream) as Box<dyn Wire>),
        };
        match accepted {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
