//! Asking a gateway's admin listener, for the commands that do.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::server::Address;
use crate::transport::{DirectClient, Endpoint};

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
    /// An answer that does not arrive, or not whole.
    pub async fn send(self, address: &Address) -> anyhow::Result<(StatusCode, String)> {
        let exchange = timeout(DEADLINE, self.exchange(address)).await;
        exchange
            .unwrap_or_else(|_| Err(anyhow!("no answer within 5 s")))
            .with_context(|| format!("cannot ask the admin listener at {address}"))
    }

    async fn exchange(self, address: &Address) -> anyhow::Result<(StatusCode, String)> {
        let (endpoint, host) = match address {
            Address::Tcp(tcp) => {
                let endpoint = Endpoint::Tcp(tcp.ip().to_string(), tcp.port());
                (endpoint, tcp.to_string())
            }
            Address::Unix(path, _) => (Endpoint::Unix(path.clone()), "localhost".to_owned()),
        };
        let mut client = DirectClient::connect(&endpoint, None).await?;
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
        let response = client.send(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| anyhow!(error))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((status, text))
    }
}
