//! Clients of the demo's gateways.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use http::Request;
use http::header::CACHE_CONTROL;
use http_body_util::Full;
use tokio::time::sleep;

use crate::transport::{Client, Reply, Section, TransportConfig};

/// Longest time to connect. The callers bound a request as a whole.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before a request is repeated whose fetch took too long, which a 504 says without a time to come again.
const AFTER_A_TIMEOUT: Duration = Duration::from_millis(250);
/// Tries of one request.
const MOST_TRIES: u32 = 20;
/// Bytes of the longest response.
const MAX_BODY: u64 = 1 << 20;

/// Clients of the gateway: as many keep-alive connections as requests are under way at once.
#[derive(Clone)]
pub(super) struct LoadClient {
    client: Client,
    gateway: SocketAddr,
}

/// Requests that an answer took, and the time from the first of them to the answer.
pub(super) struct Answered {
    pub(super) tries: u32,
    pub(super) waited: Duration,
}

impl LoadClient {
    /// Makes clients whose connections are kept for this long while idle; zero gives each request its own.
    pub(super) fn new(gateway: SocketAddr, idle_timeout: Duration) -> anyhow::Result<Self> {
        let client = Client::new(&TransportConfig {
            section: Section::Command,
            ca_file: None,
            proxy: None,
            unix: None,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout,
            max_body: MAX_BODY,
        })?;
        Ok(Self { client, gateway })
    }

    /// Returns the body of a response with status 200; any other response is an error.
    pub(super) async fn get(&self, target: &str, cache_control: &str) -> anyhow::Result<String> {
        let reply = self.send(target, cache_control).await?;
        found(target, reply)
    }

    /// Repeats a request for as long as the answer says when to come again, in `x-acs-retry-after`, or that the fetch
    /// took too long; at most twenty times.
    pub(super) async fn get_with_retries(&self, target: &str) -> anyhow::Result<Answered> {
        let started = Instant::now();
        let mut tries = 1;
        loop {
            let reply = self.send(target, "").await?;
            let is_late = reply.status == 504;
            let wait = reply.retry_after().or(is_late.then_some(AFTER_A_TIMEOUT));
            let Some(wait) = wait.filter(|_| tries < MOST_TRIES) else {
                found(target, reply)?;
                let waited = started.elapsed();
                return Ok(Answered { tries, waited });
            };
            sleep(wait).await;
            tries += 1;
        }
    }

    async fn send(&self, target: &str, cache_control: &str) -> anyhow::Result<Reply> {
        let mut request = Request::get(format!("http://{}{target}", self.gateway));
        if !cache_control.is_empty() {
            request = request.header(CACHE_CONTROL, cache_control);
        }
        Ok(self.client.fetch(request.body(Full::default())?).await?)
    }
}

fn found(target: &str, reply: Reply) -> anyhow::Result<String> {
    let text = String::from_utf8(reply.body.into())?;
    ensure!(
        reply.status == 200,
        "{target} answered {}: {text}",
        reply.status
    );
    Ok(text)
}
