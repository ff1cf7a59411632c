//! An address that moves, like a service's name or a virtual address at a failover.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Passes connections on. Those that stand go on to where they went when they were made. Dropping it
/// closes all.
pub(crate) struct Forwarder {
    port: u16,
    target: Arc<AtomicU16>,
    made: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Forwarder {
    /// One that leads to this port of the loopback.
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

    /// New connections lead to this port from now on; how many were made is counted anew.
    pub(crate) fn turn_to(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
        self.made.store(0, Ordering::SeqCst);
    }

    /// Connections since it was last turned.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// What a gateway is told, as `shared_cache.url`.
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
                // How it ended is for its ends to say.
                drop(copy_bidirectional(&mut client, &mut server).await);
            }
        });
    }
}
