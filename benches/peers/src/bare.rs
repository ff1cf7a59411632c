//! The least that answers the same body by hyper: one thread, one fixed answer.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, UnixListener};

use crate::{Outcome, answer};

pub(crate) fn serve(listen: &str, ports_file: &str) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let body = Bytes::from(answer::image(answer::BODY_BYTES));
    runtime.block_on(async {
        if let Some(path) = listen.strip_prefix("unix:") {
            let listener = UnixListener::bind(path)?;
            std::fs::write(ports_file, r#"{"listen":"unix"}"#)?;
            loop {
                tokio::spawn(connection(
                    TokioIo::new(listener.accept().await?.0),
                    body.clone(),
                ));
            }
        }
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        std::fs::write(ports_file, format!("{{\"listen\":\"{address}\"}}"))?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(TokioIo::new(stream), body.clone()));
        }
    })
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
