//! Reading of the body of a refused request.
//!
//! Closing a connection with unread bytes resets it, and a reset destroys the response on its way: the client
//! sees a broken connection instead of the refusal. So a small body is read and discarded first.

use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tokio::time::timeout;

/// Bytes that are read at most; beyond that the connection is reset.
const LONGEST: usize = 64 << 10;
/// Time that reading may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads a body to its end, within both limits. A client that waits for `100 Continue` has sent none.
pub(super) async fn discard<B>(body: &mut B, head: &Parts)
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if head.headers.contains_key(EXPECT) {
        return;
    }
    let read = timeout(PATIENCE, async {
        let mut left = LONGEST;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else {
                return;
            };
            left = rest;
        }
    });
    if read.await.is_err() {
        tracing::debug!("the body of a refused request did not come");
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::Full;

    use super::*;

    async fn left_of(length: usize, head: Request<()>) -> bool {
        let mut body = Full::new(Bytes::from(vec![b'x'; length]));
        discard(&mut body, &head.into_parts().0).await;
        !body.is_end_stream()
    }

    #[tokio::test]
    async fn a_body_is_read_unless_its_sender_waits_to_be_asked() {
        assert!(!left_of(1000, Request::new(())).await);
        let waits = Request::builder().header(EXPECT, "100-continue");
        assert!(left_of(1000, waits.body(()).unwrap()).await);
    }
}
