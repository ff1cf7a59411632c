//! The smallest hyper server with the same body: one thread, one fixed response. Or several threads, to
//! measure the cost of distributing connections.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::{Outcome, answer};

/// How many threads serve, and how connections come to them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Workers {
    /// One thread, as the reference.
    One,
    /// So many, each with a runtime and a listener of its own (SO_REUSEPORT).
    Each(usize),
    /// So many of one runtime, which hands connections around.
    Shared(usize),
}

impl Workers {
    /// `each` or `shared`, and how many.
    pub(crate) fn parse(kind: &str, count: &str) -> Outcome<Self> {
        match kind {
            "each" => Ok(Self::Each(count.parse()?)),
            "shared" => Ok(Self::Shared(count.parse()?)),
            _ => Err("each or shared".into()),
        }
    }
}

pub(crate) fn serve(listen: &str, ports_file: &str, workers: Workers) -> Outcome<()> {
    if let Some(path) = listen.strip_prefix("unix:") {
        return alone()?.block_on(serve_unix(path, ports_file));
    }
    let first = bind(listen.parse()?)?;
    let address = first.local_addr()?;
    std::fs::write(ports_file, format!("{{\"listen\":\"{address}\"}}"))?;
    match workers {
        Workers::One => alone()?.block_on(accept(first)),
        Workers::Shared(count) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(count)
            .enable_io()
            .build()?
            .block_on(async { tokio::spawn(accept(first)).await? }),
        Workers::Each(count) => {
            let more = (1..count).map(|_| bind(address));
            let listeners: Vec<_> = more.chain([Ok(first)]).collect::<Result<_, _>>()?;
            let serve = |listener| {
                std::thread::spawn(move || -> Outcome<()> { alone()?.block_on(accept(listener)) })
            };
            let threads: Vec<_> = listeners.into_iter().map(serve).collect();
            for thread in threads {
                thread.join().map_err(|_| "a worker panicked")??;
            }
            Ok(())
        }
    }
}

fn alone() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
}

/// A listener that others may share the address of, for whichever runtime takes it.
fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let runtime = alone()?;
    let _entered = runtime.enter();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(4096)?.into_std()
}

async fn accept(listener: std::net::TcpListener) -> Outcome<()> {
    let listener = TcpListener::from_std(listener)?;
    let body = Bytes::from(answer::image(answer::BODY_BYTES));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(TokioIo::new(stream), body.clone()));
    }
}

async fn serve_unix(path: &str, ports_file: &str) -> Outcome<()> {
    let body = Bytes::from(answer::image(answer::BODY_BYTES));
    let listener = UnixListener::bind(path)?;
    std::fs::write(ports_file, r#"{"listen":"unix"}"#)?;
    loop {
        let stream = TokioIo::new(listener.accept().await?.0);
        tokio::spawn(connection(stream, body.clone()));
    }
}

async fn connection(stream: impl Read + Write + Unpin, body: Bytes) {
    let service = service_fn(|_| {
        let mut response = Response::new(Full::new(body.clone()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        async move { Ok::<_, Infallible>(response) }
    });
    drop(
        http1::Builder::new()
            .serve_connection(stream, service)
            .await,
    );
}
