//! Injection of faults into finished responses.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::fault::FaultKind;
use super::response::{Body, OriginResponse};

/// Error that closes the connection without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed on purpose")]
pub(super) struct ConnectionClosed;

/// Sends a response, changed by its fault if there is one, after `latency`.
pub(super) async fn send(
    answer: OriginResponse,
    fault: Option<FaultKind>,
    latency: Duration,
) -> Result<Response<Body>, ConnectionClosed> {
    pause(latency).await;
    let Some(fault) = fault else {
        return Ok(answer.whole());
    };
    match fault {
        FaultKind::Latency(wait) => pause(wait).await,
        FaultKind::Headers(headers) => return Ok(replace_headers(answer, &headers)),
        FaultKind::Stall(wait) => {
            pause(wait).await;
            return Err(ConnectionClosed);
        }
        FaultKind::CloseBefore => return Err(ConnectionClosed),
        FaultKind::CloseMidBody => return Ok(cut_mid_body(answer)),
        FaultKind::Garbage => return Ok(replace_body(answer, GARBAGE)),
        FaultKind::Empty => return Ok(replace_body(answer, b"")),
        FaultKind::NotObject => return Ok(replace_body(answer, b"[]")),
        FaultKind::WrongType => return Ok(replace_body(answer, WRONG_TYPE)),
        FaultKind::Truncated => return Ok(truncate(answer)),
        FaultKind::Gzip => return Ok(compress(answer)),
        // The response already is the error.
        FaultKind::Status { .. } | FaultKind::Throttle { .. } => {}
    }
    Ok(answer.whole())
}

async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// Sends half of the body under the `Content-Length` of all of it; then the connection fails.
fn cut_mid_body(mut answer: OriginResponse) -> Response<Body> {
    let length = answer.body.len();
    answer
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let half = stream::iter([Ok(Frame::data(answer.body.slice(..length / 2)))]);
    let failure = stream::once(async {
        // Gives the connection a turn to write what it has before it is torn down.
        tokio::task::yield_now().await;
        Err(std::io::Error::other(ConnectionClosed))
    });
    answer.with_body(StreamBody::new(half.chain(failure)).boxed_unsync())
}

fn replace_headers(mut answer: OriginResponse, headers: &HeaderMap) -> Response<Body> {
    for (name, value) in headers {
        if value.is_empty() {
            answer.headers.remove(name);
        } else {
            answer.headers.insert(name, value.clone());
        }
    }
    answer.whole()
}

fn truncate(mut answer: OriginResponse) -> Response<Body> {
    answer.body.truncate(answer.body.len() / 2);
    answer.whole()
}

fn replace_body(mut answer: OriginResponse, body: &'static [u8]) -> Response<Body> {
    answer.status = StatusCode::OK;
    answer.body = Bytes::from_static(body);
    answer.whole()
}

fn compress(mut answer: OriginResponse) -> Response<Body> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(&answer.body);
    let compressed = written.and_then(|()| encoder.finish());
    answer.body = compressed.expect("writing to memory cannot fail").into();
    answer
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer.whole()
}

const GARBAGE: &[u8] = b"\xff\xfe<html>\x00 502 Bad Gateway";

const WRONG_TYPE: &[u8] = br#"{"RequestId":7,"GmtCreateTime":1,"GmtModifiedTime":true,"ImageUri":["a"],"WorkspaceId":15945,"Accessibility":{},"Size":"10","Labels":"none"}"#;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use flate2::read::GzDecoder;

    use super::super::harness::{Harness, HarnessReply, get_image};
    use super::super::{Fault, Settings, Store};
    use super::*;

    async fn under(kind: FaultKind) -> (Harness, HarnessReply) {
        let harness = Harness::start(Settings {
            faults: vec![Fault::always(kind)],
            ..Settings::default()
        })
        .await;
        let reply = harness.fetch(&Store::id(1)).await;
        (harness, reply)
    }

    async fn raw(kind: FaultKind) -> Vec<u8> {
        let harness = Harness::start(Settings {
            faults: vec![Fault::always(kind)],
            ..Settings::default()
        })
        .await;
        harness
            .send_raw(harness.signed(&get_image(&Store::id(1))))
            .await
    }

    #[tokio::test]
    async fn latency_holds_the_answer_back() {
        let begun = Instant::now();
        let (harness, reply) = under(FaultKind::Latency(Duration::from_millis(80))).await;
        assert!(begun.elapsed() >= Duration::from_millis(80));
        assert_eq!((reply.status, reply.body.len()), (200, 626));
        assert_eq!(harness.emulator.counts().faults["latency"], 1);
    }

    #[tokio::test]
    async fn a_status_is_answered_in_the_error_shape() {
        let (_, reply) = under(FaultKind::Status {
            status: StatusCode::FORBIDDEN,
            code: Some("NoPermission".to_owned()),
            message: None,
            headers: [(header::RETRY_AFTER, HeaderValue::from_static("7"))]
                .into_iter()
                .collect(),
            access_denied_detail: true,
        })
        .await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "NoPermission"));
        assert_eq!(reply.header("retry-after"), "7");
        let body = reply.json();
        assert_eq!(
            body["AccessDeniedDetail"]["AuthAction"],
            "paiimage:GetImage"
        );
        assert!(
            body["Message"]
                .as_str()
                .unwrap()
                .starts_with("You are not authorized")
        );
    }

    #[tokio::test]
    async fn a_status_can_have_no_code() {
        let (_, reply) = under(FaultKind::Status {
            status: StatusCode::NOT_FOUND,
            code: None,
            message: Some("gone".to_owned()),
            headers: HeaderMap::new(),
            access_denied_detail: false,
        })
        .await;
        assert_eq!(
            (reply.status, reply.json()["Message"].as_str()),
            (404, Some("gone"))
        );
        assert!(reply.json().get("Code").is_none());
    }

    #[tokio::test]
    async fn a_scripted_mismatch_quotes_the_signed_request() {
        let (_, reply) = under(FaultKind::Status {
            status: StatusCode::BAD_REQUEST,
            code: Some("SignatureDoesNotMatch".to_owned()),
            message: None,
            headers: HeaderMap::new(),
            access_denied_detail: false,
        })
        .await;
        let body = reply.json();
        assert!(
            body["Message"]
                .as_str()
                .unwrap()
                .contains("server CanonicalRequest is [GET\n")
        );
    }

    #[tokio::test]
    async fn headers_are_replaced_added_and_removed() {
        let headers = [(header::CACHE_CONTROL, "max-age=9"), (header::ETAG, "")];
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let (_, reply) = under(FaultKind::Headers(headers.into_iter().collect())).await;
        assert_eq!((reply.status, reply.body.len()), (200, 626));
        assert_eq!(reply.header("cache-control"), "max-age=9");
        assert!(!reply.headers.contains_key("etag"));
    }

    #[tokio::test]
    async fn a_throttle_says_how_long_to_wait() {
        let (_, reply) = under(FaultKind::Throttle {
            status: StatusCode::BAD_REQUEST,
            code: "Throttling.User".to_owned(),
            retry_after: Some(Duration::from_millis(300)),
        })
        .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "Throttling.User")
        );
        assert_eq!(reply.header("x-acs-retry-after"), "300");
    }

    #[tokio::test]
    async fn a_connection_closes_before_a_byte() {
        assert_eq!(raw(FaultKind::CloseBefore).await, b"");
    }

    #[tokio::test]
    async fn a_stall_ends_in_a_close_without_a_byte() {
        let begun = Instant::now();
        assert_eq!(raw(FaultKind::Stall(Duration::from_millis(80))).await, b"");
        assert!(begun.elapsed() >= Duration::from_millis(80));
    }

    #[tokio::test]
    async fn a_connection_closes_in_the_middle_of_a_body() {
        let sent = raw(FaultKind::CloseMidBody).await;
        let end = sent
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let head = String::from_utf8_lossy(&sent[..end]).to_lowercase();
        assert!(
            head.starts_with("http/1.1 200") && head.contains("content-length: 626"),
            "{head}"
        );
        assert_eq!(sent.len() - end, 313);
    }

    #[tokio::test]
    async fn unreadable_answers_are_complete_ones_with_status_200() {
        for (kind, body) in [
            (FaultKind::Garbage, GARBAGE),
            (FaultKind::Empty, b""),
            (FaultKind::NotObject, b"[]"),
            (FaultKind::WrongType, WRONG_TYPE),
        ] {
            let (_, reply) = under(kind.clone()).await;
            assert_eq!((reply.status, &reply.body[..]), (200, body), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn truncated_json_has_a_length_that_agrees() {
        let (_, reply) = under(FaultKind::Truncated).await;
        assert_eq!((reply.status, reply.body.len()), (200, 313));
        assert_eq!(reply.header("content-length"), "313");
        assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_err());
    }

    #[tokio::test]
    async fn gzip_comes_unasked() {
        let (_, reply) = under(FaultKind::Gzip).await;
        assert_eq!(reply.header("content-encoding"), "gzip");
        let mut plain = Vec::new();
        GzDecoder::new(&reply.body[..])
            .read_to_end(&mut plain)
            .unwrap();
        assert_eq!(plain.len(), 626);
    }

    #[tokio::test]
    async fn a_write_whose_answer_is_lost_was_performed() {
        let harness = Harness::start(Settings {
            faults: vec![Fault::always(FaultKind::CloseBefore)],
            ..Settings::default()
        })
        .await;
        let image = Store::id(1);
        let path = format!("/api/v1/images/{image}");
        let draft = harness.draft(
            http::Method::DELETE,
            &path,
            "",
            pai_api::Action::RemoveImage,
        );
        assert_eq!(harness.send_raw(harness.signed(&draft)).await, b"");
        assert!(harness.emulator.store().get(&image).is_none());
    }
}
