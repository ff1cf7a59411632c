//! A client of a gateway, over its Unix socket.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Outcome;

/// Longer than any answer takes: a Resolve has half a minute.
const DEADLINE: Duration = Duration::from_secs(40);

/// A keep-alive connection.
pub(crate) struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) cache_status: String,
    /// Time after which a refused client may come again, `x-acs-retry-after`.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: String,
}

impl Answer {
    /// Whether it was out of date, or may have been, and the gateway knew.
    pub(crate) fn is_stale(&self) -> bool {
        ["ttl=-", "detail=revalidating", "detail=origin-error"]
            .iter()
            .any(|mark| self.cache_status.contains(mark))
    }
}

impl Client {
    pub(crate) async fn open(socket: &Path) -> Outcome<Self> {
        let stream = timeout(DEADLINE, UnixStream::connect(socket)).await??;
        Ok(Self {
            stream,
            buffer: vec![0; 16 << 10],
        })
    }

    pub(crate) async fn image(&mut self, id: &str) -> Outcome<Answer> {
        self.get(&format!("/api/v1/images/{id}")).await
    }

    pub(crate) async fn get(&mut self, target: &str) -> Outcome<Answer> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.exchange(&head).await
    }

    /// Sends a body of JSON, such as an order to the admin listener.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Outcome<Answer> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.exchange(&request).await
    }

    async fn exchange(&mut self, request: &str) -> Outcome<Answer> {
        timeout(DEADLINE, async {
            self.stream.write_all(request.as_bytes()).await?;
            self.read().await
        })
        .await?
    }

    async fn read(&mut self) -> Outcome<Answer> {
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(2 * filled, 0);
            }
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err("the gateway closed".into());
            }
            filled += read;
            if let Some(answer) = parse(&self.buffer[..filled])? {
                return Ok(answer);
            }
        }
    }
}

/// A whole answer, once it is there.
fn parse(bytes: &[u8]) -> Outcome<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let header = |wanted: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map_or("", |(_, value)| value)
    };
    let length: usize = header("content-length").parse()?;
    let Some(body) = bytes.get(end + 4..end + 4 + length) else {
        return Ok(None);
    };
    let retry_after = header("x-acs-retry-after").parse().ok();
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok(Some(Answer {
        status,
        cache_status: header("cache-status").to_owned(),
        retry_after: retry_after.map(Duration::from_millis),
        body: String::from_utf8_lossy(body).into_owned(),
    }))
}
