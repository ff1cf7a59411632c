//! `POST /purge`.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::{Admin, as_json, error};
use crate::api::ImageId;
use crate::body::Body;
use crate::cache::{PurgeMode, PurgeTarget};
use crate::observability::audit::PurgeRecord;
use crate::peer::Peer;
use crate::shared_cache;

/// Longest order read.
const MAX_BODY: usize = 64 << 10;
/// Time for an order to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

impl Admin {
    pub(super) async fn purge(
        &self,
        headers: &HeaderMap,
        body: &mut Incoming,
        peer: &Peer,
    ) -> Response<Body> {
        let is_json = headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        if !is_json {
            return error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "write Content-Type: application/json",
            );
        }
        let body = match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                return error(
                    StatusCode::BAD_REQUEST,
                    "the request is too long or broke off",
                );
            }
            Err(_) => {
                return error(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request did not come in time",
                );
            }
        };
        match parse_purge(&body.to_bytes()) {
            Err(reason) => error(StatusCode::BAD_REQUEST, reason),
            Ok((scope, mode)) => {
                let shared = self.shared.as_ref();
                let purged = shared_cache::invalidate(shared, &self.cache, &scope, mode).await;
                self.record_purge(peer, &record(&scope, mode, purged));
                as_json(&json!({ "purged": purged }))
            }
        }
    }
}

impl Admin {
    /// Counts a purge, and writes it down in log and audit.
    fn record_purge(&self, peer: &Peer, purge: &PurgeRecord) {
        self.metrics.purges.inc();
        let PurgeRecord {
            image_id,
            workspace_id,
            soft,
            purged,
        } = purge;
        tracing::info!(%peer, image_id, workspace_id, soft, purged, "purged");
        if let Some(audit) = &self.audit {
            audit.record_purge(peer, purge);
        }
    }
}

fn record(scope: &PurgeTarget, mode: PurgeMode, purged: u64) -> PurgeRecord {
    let (image_id, workspace_id) = match scope {
        PurgeTarget::Image(image) => (Some(image.as_str().to_owned()), None),
        PurgeTarget::Workspace(workspace) => (None, Some(workspace.clone())),
        PurgeTarget::Lists | PurgeTarget::All => (None, None),
    };
    PurgeRecord {
        image_id,
        workspace_id,
        soft: mode == PurgeMode::Soft,
        purged,
    }
}

/// Reads `{"image":…}`, `{"workspace":…}` or `{"all":true}`, with an optional `"soft"`.
fn parse_purge(body: &[u8]) -> Result<(PurgeTarget, PurgeMode), &'static str> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct PurgeRequest {
        image: Option<String>,
        workspace: Option<String>,
        all: Option<bool>,
        #[serde(default)]
        soft: bool,
    }
    const FORM: &str =
        r#"write {"image":"…"}, {"workspace":"…"} or {"all":true}, and "soft":true if you like"#;
    let request: PurgeRequest = serde_json::from_slice(body).map_err(|_| FORM)?;
    let scope = match (request.image, request.workspace, request.all) {
        (Some(image), None, None) => {
            PurgeTarget::Image(ImageId::parse(&image).map_err(|_| "this is no ImageId")?)
        }
        (None, Some(workspace), None) => PurgeTarget::Workspace(workspace),
        (None, None, Some(true)) => PurgeTarget::All,
        _ => return Err(FORM),
    };
    Ok((
        scope,
        if request.soft {
            PurgeMode::Soft
        } else {
            PurgeMode::Hard
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unambiguous_request_purges() {
        let image = PurgeTarget::Image(ImageId::parse("a").unwrap());
        assert_eq!(
            parse_purge(br#"{"image":"a"}"#),
            Ok((image, PurgeMode::Hard))
        );
        assert_eq!(
            parse_purge(br#"{"all":true,"soft":true}"#),
            Ok((PurgeTarget::All, PurgeMode::Soft))
        );
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"all":false}"#,
            r#"{"all":true,"image":"a"}"#,
            r#"{"image":"a/b"}"#,
            r#"{"all":true,"x":1}"#,
        ] {
            assert!(parse_purge(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
