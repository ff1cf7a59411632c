//! An address that moves, like a service's name or a virtual address at a failover.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Forwards connections. Open ones keep their target when it changes. Dropping it
/// closes all.
pub(crate) struct Forwarder {
    port: u16,
    target: Arc<AtomicU16>,
    made: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Forwarder {
    /// Starts one that leads to this port of the loopback.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (target, made) = (Arc::new(AtomicU16::new(port)), Arc::default());
        let task = tokio::spawn(pass_on(listener, Arc::clone(&target), Arc::clone(&made)));
        Self {
            port: own,
            target,
            made,
            task: task.abort_handle(),
        }
    }

    /// Leads new connections to this port from now on, and resets the count of connections.
    pub(crate) fn turn_to(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
        self.made.store(0, Ordering::SeqCst);
    }

    /// Returns the number of connections since the last change of target.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// The URL for `shared_cache.url`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(listener: TcpListener, target: Arc<AtomicU16>, made: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        made.fetch_add(1, Ordering::SeqCst);
        let port = target.load(Ordering::SeqCst);
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                // Both ends notice the end of the connection themselves.
                drop(copy_bidirectional(&mut client, &mut server).await);
            }
        });
    }
}
