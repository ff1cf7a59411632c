//! Decoding of a content encoding that the origin, or a proxy on the way, applied although none was accepted.
//!
//! - gzip: members are joined and each checksum is verified; a truncated body is an error. Bytes after the last member
//!   that do not begin another are padding, and are ignored as the vendor's SDKs do.
//! - `identity`, an empty coding and one that does not exist (`UTF-8`, `none`) over a JSON body: nothing to decode.
//! - anything else is an error.
//!
//! The cost is bounded: input and output by the response limit, members by [`MAX_MEMBERS`], codings by
//! [`MAX_CODINGS`]. After each [`CHUNK`] the task yields, so that the attempt's deadline can end it and no thread of
//! the runtime is blocked.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http::header;
use tokio::task::yield_now;

use super::{Reply, TransportError};

/// Number of gzip members of a body that are decoded. A server begins a new one for each part that it flushes.
const MAX_MEMBERS: usize = 1000;
/// Number of codings that are decoded, one over the other.
const MAX_CODINGS: usize = 2;
/// Number of bytes decoded between two yields to other tasks.
const CHUNK: u64 = 64 << 10;
/// First bytes of a member: gzip's magic number and its only method (RFC 1952 §2.3.1).
const MEMBER: [u8; 3] = [0x1f, 0x8b, 8];

/// Decodes the encodings that the headers name. The body of an error response that cannot be decoded is dropped,
/// because its status alone can still be classified.
pub(super) async fn decode(mut reply: Reply, limit: usize) -> Result<Reply, TransportError> {
    let named = reply.list(header::CONTENT_ENCODING.as_str());
    reply.headers.remove(header::CONTENT_ENCODING);
    match plain(&named, reply.body.clone(), limit).await {
        Ok(body) => reply.body = body,
        Err(_) if !(200..300).contains(&reply.status) => reply.body = Bytes::new(),
        Err(error) => return Err(error),
    }
    Ok(reply)
}

async fn plain(named: &str, mut body: Bytes, limit: usize) -> Result<Bytes, TransportError> {
    let codings: Vec<_> = named
        .split(',')
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    if codings.len() > MAX_CODINGS && !is_json(&body) {
        return Err(TransportError::Encoding);
    }
    // The last one named was applied last.
    for coding in codings.iter().rev() {
        let is_gzip = matches!(coding.as_str(), "gzip" | "x-gzip");
        if is_gzip && body.starts_with(&MEMBER) {
            body = gunzip(&body, limit).await?.into();
        } else if !is_json(&body) {
            return Err(TransportError::Encoding);
        }
    }
    Ok(body)
}

/// Returns whether a body begins as a JSON object or is empty; the caller parses it as a whole.
fn is_json(body: &[u8]) -> bool {
    let text = body.trim_ascii_start();
    text.is_empty() || text.starts_with(b"{")
}

/// Decodes twice: first to learn the length, which keeps nothing, and then into a buffer of just that length. So a
/// body that exceeds the limit takes no memory, and an honest one, which is small, a little more time.
async fn gunzip(input: &[u8], limit: usize) -> Result<Vec<u8>, TransportError> {
    let length = inflate(input, limit, &mut io::sink()).await?;
    let mut plain = Vec::with_capacity(length);
    inflate(input, limit, &mut plain).await?;
    Ok(plain)
}

/// Writes what the members contain, joined, to `output`. Returns its length, at most `limit`.
async fn inflate(
    mut input: &[u8],
    limit: usize,
    output: &mut (impl Write + Send),
) -> Result<usize, TransportError> {
    let mut length = 0;
    for _ in 0..MAX_MEMBERS {
        let mut member = GzDecoder::new(input);
        loop {
            let read = io::copy(&mut (&mut member).take(CHUNK), output);
            let read = read.map_err(|_| TransportError::Encoding)?;
            length += usize::try_from(read).map_err(|_| TransportError::TooLong)?;
            if length > limit {
                return Err(TransportError::TooLong);
            }
            yield_now().await;
            if read == 0 {
                break;
            }
        }
        input = member.into_inner();
        if !input.starts_with(&MEMBER) {
            return Ok(length);
        }
    }
    Err(TransportError::TooLong)
}

#[cfg(test)]
mod tests;
