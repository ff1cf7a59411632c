//! TCP listener of the emulator and its connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::service::ApiService;

/// Bound TCP port that accepts connections.
pub(super) struct Listener {
    tcp: TcpListener,
}

impl Listener {
    /// Length of the accept queue. Thousands of clients may connect at once, and a connection that finds the
    /// queue full waits a second before it sends its next SYN.
    const BACKLOG: u32 = 4096;
    /// Most open connections; further ones wait in the accept queue.
    const MAX_CONNECTIONS: usize = 20_000;
    /// Idle time after which the origin closes a connection; hyper adds it to the time that a request's
    /// head may take.
    const IDLE: Duration = Duration::from_secs(25);

    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // A restart on the same port must not wait for the kernel to forget the old connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let tcp = socket.listen(Self::BACKLOG)?;
        Ok(Self { tcp })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stop`, each connection in a task of `tasks`.
    pub(super) async fn run(
        self,
        service: Arc<ApiService>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) {
        let slots = Arc::new(Semaphore::new(Self::MAX_CONNECTIONS));
        while let Some((stream, slot)) = stop.run_until_cancelled(self.next(&slots)).await {
            service.counters().connection();
            let serving = serve(stream, Arc::clone(&service), slot);
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(serving).await });
        }
    }

    /// Accepts the next connection, once there is a slot for it.
    async fn next(&self, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        let slot = Arc::clone(slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        loop {
            match self.tcp.accept().await {
                Ok((stream, _)) => return (stream, slot),
                // Out of file descriptors, or a peer that left already: the former needs a moment.
                Err(error) => {
                    tracing::warn!(%error, "the emulator could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, service: Arc<ApiService>, _slot: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the emulator's connection keeps Nagle's delay");
    }
    let service = service_fn(|request| service.serve(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Listener::IDLE)
        .serve_connection(TokioIo::new(stream), service);
    // Both a peer that disconnects and a connection that a fault closes end here.
    if let Err(error) = connection.await {
        tracing::debug!(%error, "the emulator's connection ended early");
    }
}
