//! One Resolve request on a connection of its own, whose response is read line by line as it comes.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tokio::time::timeout;

use super::target::{ClientCredential, DataEndpoint};
use crate::api::{self, Operation, Query};
use crate::body::NDJSON;
use crate::signing::{self, UnsignedRequest};
use crate::transport::{Client, Section, TransportConfig};

/// Result of one image: one line of the response.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImageResult<'a> {
    /// Id of the image; `None` for a URI that no visible image carries.
    #[serde(borrow)]
    image_id: Option<Cow<'a, str>>,
    /// URI that the request named, if it did not name an id.
    #[serde(borrow)]
    image_uri: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) message: Option<Cow<'a, str>>,
}

impl ImageResult<'_> {
    /// Returns the URI or id that the request named.
    pub(super) fn name(&self) -> &str {
        let name = self.image_uri.as_deref().or(self.image_id.as_deref());
        name.unwrap_or("?")
    }
}

/// Last line of the response, which proves that it is whole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Totals {
    found: usize,
    missing: usize,
    failed: usize,
}

/// Error response in the API's shape; both fields stay empty where the response is no such object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ErrorFields {
    code: String,
    message: String,
}

/// Time for the connection, the TLS handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// Time from the request to the head of the response, or to the whole of an error response.
const HEAD: Duration = Duration::from_secs(60);
/// Time between two lines: longer than `resolve.deadline` may be, after which the gateway itself gives up.
const LINE: Duration = Duration::from_secs(660);
/// Bytes of the longest line that is read, with room for the largest image.
const MAX_LINE: usize = 256 << 20;
/// Bytes of the longest error response that is read.
const MAX_REFUSAL: usize = 64 << 10;

/// Sends the request, and calls `each` with the result of every image as it comes, parsed and as bytes.
///
/// # Errors
/// A refusal by the gateway, or a response that breaks off or does not add up.
pub(super) async fn resolve_images(
    server: &DataEndpoint,
    credential: Option<&ClientCredential>,
    body: String,
    each: impl FnMut(ImageResult<'_>, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let client = Client::new(&TransportConfig {
        section: Section::Command,
        ca_file: server.ca_file.clone(),
        proxy: None,
        unix: server.unix.clone(),
        connect_timeout: CONNECT,
        idle_timeout: Duration::ZERO,
        max_body: MAX_REFUSAL as u64,
    })?;
    let request = request(server, credential, body.into())?;
    let (response, _) = timeout(HEAD, client.send(request))
        .await
        .map_err(|_| anyhow!("no answer within {HEAD:?}"))??;
    let (head, body) = response.into_parts();
    if head.status == StatusCode::OK {
        read(body, each).await
    } else {
        refused(head.status, body).await
    }
}

/// Builds the request, signed by ACS3 with a key, or with a bearer token, or without either.
fn request(
    server: &DataEndpoint,
    credential: Option<&ClientCredential>,
    body: Bytes,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let (method, path) = (Operation::Resolve.method(), Operation::Resolve.path());
    let mut request = Request::builder()
        .method(&method)
        .uri(format!("{}{path}", server.base))
        .header(ACCEPT, NDJSON);
    if let Some(ClientCredential::Key(key)) = credential {
        let draft = UnsignedRequest {
            method,
            host: server.host.clone(),
            path,
            query: Query::default().canonical(),
            action: Operation::Resolve.action().as_str(),
            version: api::VERSION,
            body: body.clone(),
        };
        let nonce = format!("{:032x}", fastrand::u128(..));
        for (name, value) in signing::sign(&draft, key, Timestamp::now(), &nonce) {
            request = request.header(name, value);
        }
    } else {
        request = request
            .header(HOST, &server.host)
            .header(CONTENT_TYPE, "application/json");
    }
    if let Some(ClientCredential::Bearer(token)) = credential {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    Ok(request.body(Full::new(body))?)
}

/// Reads lines up to the totals, which must agree with the lines before them: a response that was cut off has none.
async fn read(
    mut body: Incoming,
    mut each: impl FnMut(ImageResult<'_>, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut read, mut count) = (Vec::new(), 0);
    loop {
        let frame = timeout(LINE, body.frame())
            .await
            .map_err(|_| anyhow!("the answer goes on no more"))?;
        let Some(frame) = frame else {
            bail!("the answer broke off after {count} images");
        };
        let Ok(data) = frame
            .with_context(|| format!("the answer broke off after {count} images"))?
            .into_data()
        else {
            continue;
        };
        // Only the new bytes can end a line, so a long line is not searched again for each frame.
        let mut from = read.len();
        read.extend_from_slice(&data);
        ensure!(
            read.len() <= MAX_LINE,
            "a line is longer than {MAX_LINE} bytes"
        );
        let mut begin = 0;
        while let Some(end) = memchr::memchr(b'\n', &read[from..]).map(|at| from + at + 1) {
            let line = &read[begin..end];
            if let Ok(result) = serde_json::from_slice::<ImageResult<'_>>(line) {
                count += 1;
                each(result, line)?;
            } else {
                let Totals {
                    found,
                    missing,
                    failed,
                } = serde_json::from_slice(line).context("this is no gateway's answer")?;
                ensure!(
                    found + missing + failed == count,
                    "the answer does not add up"
                );
                return Ok(());
            }
            (begin, from) = (end, end);
        }
        read.drain(..begin);
    }
}

/// Turns an error response into an error with its status, Code and message.
async fn refused(status: StatusCode, body: Incoming) -> anyhow::Result<()> {
    let body = timeout(HEAD, Limited::new(body, MAX_REFUSAL).collect()).await;
    let body = body.ok().and_then(Result::ok);
    let refusal: ErrorFields = body
        .and_then(|body| serde_json::from_slice(&body.to_bytes()).ok())
        .unwrap_or_default();
    bail!("it answers {status} {}: {}", refusal.code, refusal.message)
}
