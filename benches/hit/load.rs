//! Requests as the vendor's Python SDK writes them, and their sender.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::{digest, hmac};
use jiff::Timestamp;
use pai_image_gateway::emulator::Store;
use pai_image_gateway::signing::hex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{IMAGES, Outcome};

pub(crate) const KEY_ID: &str = "GWBENCH";
pub(crate) const KEY_SECRET: &str = "a-secret-of-the-benchmark";

const CONNECTIONS: usize = 64;
/// More than a connection can have answered in a round.
const REQUESTS: usize = 1_000;

/// A GetImage without labels, signed, with a nonce of its own.
fn request(number: usize, key: &hmac::Key, date: &str) -> Vec<u8> {
    let path = format!("/api/v1/images/{}", Store::id(number % IMAGES));
    let nonce = format!("{:032x}", fastrand::u128(..));
    let empty = hex(digest::digest(&digest::SHA256, b"").as_ref());
    let signed = [
        ("accept", "application/json"),
        ("host", "127.0.0.1:8080"),
        (
            "user-agent",
            "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2",
        ),
        ("x-acs-action", "GetImage"),
        ("x-acs-content-sha256", &empty),
        ("x-acs-credentials-provider", "static_ak"),
        ("x-acs-date", date),
        ("x-acs-signature-nonce", &nonce),
        ("x-acs-version", "2021-02-04"),
    ];
    let names = signed.map(|(name, _)| name).join(";");
    let lines = signed.map(|(name, value)| format!("{name}:{value}\n"));
    let canonical = format!("GET\n{path}\n\n{}\n{names}\n{empty}", lines.concat());
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let signature = hmac::sign(key, format!("ACS3-HMAC-SHA256\n{hash}").as_bytes());
    let head = signed.map(|(name, value)| format!("{name}: {value}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nAccept-Encoding: identity\r\n{}Authorization: ACS3-HMAC-SHA256 \
         Credential={KEY_ID},SignedHeaders={names},Signature={}\r\n\r\n",
        head.concat(),
        hex(signature.as_ref())
    )
    .into_bytes()
}

/// What each connection is to send in a round; no request is sent twice.
pub(crate) struct Round(Vec<Vec<Vec<u8>>>);

impl Round {
    pub(crate) fn new() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY_SECRET.as_bytes());
        let date = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let connection = |client: usize| {
            let requests = (0..REQUESTS).map(|number| request(client * 17 + number, &key, &date));
            requests.collect()
        };
        Self((0..CONNECTIONS).map(connection).collect())
    }

    /// Sends for about `time`; tells how many were answered.
    pub(crate) async fn send(self, address: SocketAddr, time: Duration) -> Outcome<u64> {
        let (mut clients, until) = (JoinSet::new(), Instant::now() + time);
        for requests in self.0 {
            clients.spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (mut answered, mut buffer) = (0, vec![0; 16 << 10]);
                for request in requests {
                    if Instant::now() > until {
                        break;
                    }
                    stream.write_all(&request).await?;
                    read_answer(&mut stream, &mut buffer).await?;
                    answered += 1;
                }
                Outcome::Ok(answered)
            });
        }
        let mut answered = 0;
        while let Some(client) = clients.join_next().await {
            answered += client??;
        }
        Ok(answered)
    }
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Outcome<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err("the server closed".into());
        }
        filled += read;
        let text = &buffer[..filled];
        if let Some(head) = text.windows(4).position(|window| window == b"\r\n\r\n") {
            let lower = String::from_utf8_lossy(&text[..head]).to_ascii_lowercase();
            let length = lower
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next())
                .ok_or("no length")?;
            if !lower.starts_with("http/1.1 200") {
                return Err(lower.into());
            }
            if filled == head + 4 + length.parse::<usize>()? {
                return Ok(());
            }
        }
    }
}
