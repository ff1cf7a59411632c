//! Asking a gateway's admin listener, for the commands that do.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::server::Address;
use crate::transport::{Client, Section, TransportConfig};

const DEADLINE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 16 << 20;

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
        let (authority, unix) = match address {
            Address::Tcp(tcp) => (tcp.to_string(), None),
            Address::Unix(path, _) => ("localhost".to_owned(), Some(path.clone())),
        };
        let client = Client::new(&TransportConfig {
            section: Section::Command,
            ca_file: None,
            proxy: None,
            unix,
            connect_timeout: DEADLINE,
            idle_timeout: Duration::ZERO,
            max_body: MAX_ANSWER,
        })?;
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("http://{authority}{}", self.path));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(self.body.unwrap_or_default())))?;
        let reply = client.fetch(request).await?;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        Ok((StatusCode::from_u16(reply.status)?, text))
    }
}
