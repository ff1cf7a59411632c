//! Asking a gateway's admin listener, for the commands that do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::server::Address;

const DEADLINE: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 16 << 20;

/// One request to an admin listener.
pub struct AdminRequest<'a> {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'a str,
    /// JSON to send.
    pub body: Option<String>,
    /// The admin token.
    pub token: Option<SecretString>,
}

impl AdminRequest<'_> {
    /// Asks, and waits at most five seconds.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn send(self, address: &Address) -> anyhow::Result<(StatusCode, String)> {
        let answer = async {
            match address {
                Address::Tcp(tcp) => {
                    self.over(TcpStream::connect(tcp).await?, &tcp.to_string())
                        .await
                }
                Address::Unix(path, _) => {
                    self.over(UnixStream::connect(path as &Path).await?, "localhost")
                        .await
                }
            }
        };
        let answered = timeout(DEADLINE, answer)
            .await
            .map_err(|_| anyhow!("no answer within 5 s"));
        answered
            .and_then(|answer| answer)
            .with_context(|| format!("cannot ask the admin listener at {address}"))
    }

    async fn over<S>(self, stream: S, host: &str) -> anyhow::Result<(StatusCode, String)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(self.body.unwrap_or_default())))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| anyhow!(error))?;
            Ok((
                status,
                String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            ))
        };
        // The connection's own future must run for the exchange to get anywhere.
        tokio::select! {
            biased;
            answer = exchange => answer,
            ended = connection => Err(ended.map_or_else(Into::into, |()| anyhow!("the connection was closed"))),
        }
    }
}
