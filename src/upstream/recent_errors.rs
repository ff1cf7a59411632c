//! The latest attempts that the origin did not answer well, for `/status`.

use std::collections::VecDeque;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use super::{Attempt, UpstreamError};
use crate::api::{Action, OriginError};
use crate::observability::outcome::CallResult;

/// So many are kept.
const KEPT: usize = 50;
/// Longest code or request id kept.
const MAX_WORD: usize = 64;

/// One attempt that went wrong. It has words alone: no body, no message, nothing that was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecentError {
    /// When it ended.
    pub time: String,
    /// What was asked.
    pub operation: &'static str,
    /// How it was counted.
    pub result: &'static str,
    /// The origin's Code, if it said one.
    pub code: Option<String>,
    /// The origin's id of its answer, if there was one.
    pub request_id: Option<String>,
}

/// The latest errors, at most [`KEPT`].
#[derive(Debug, Default)]
pub(super) struct RecentErrors(Mutex<VecDeque<RecentError>>);

impl RecentErrors {
    /// Keeps what an attempt came to, unless it came to an answer about what was asked.
    pub(super) fn note(
        &self,
        action: Action,
        result: CallResult,
        outcome: &Result<Attempt, UpstreamError>,
    ) {
        if matches!(result, CallResult::Ok | CallResult::NotFound) {
            return;
        }
        let (mut code, mut request_id) = (None, None);
        if let Ok(Attempt { reply, .. }) = outcome {
            let error = OriginError::parse(reply.status, &reply.body);
            code = word(&error.code);
            request_id = word(reply.request_id()).or_else(|| word(&error.request_id));
        }
        self.keep(RecentError {
            time: Timestamp::now().to_string(),
            operation: action.as_str(),
            result: result.as_str(),
            code,
            request_id,
        });
    }

    /// All that are kept, the newest first.
    pub(super) fn latest(&self) -> Vec<RecentError> {
        self.0.lock().iter().rev().cloned().collect()
    }

    fn keep(&self, error: RecentError) {
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(error);
    }
}

/// The text, if it looks as codes and ids do: a broken origin's prose is not shown.
fn word(text: &str) -> Option<String> {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_word = (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(belongs);
    is_word.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use std::time::Duration;
    use tokio::time::Instant;

    use super::*;
    use crate::transport::Reply;
    use crate::upstream::Verdict;

    fn attempt(status: u16, body: &'static str) -> Result<Attempt, UpstreamError> {
        Ok(Attempt {
            verdict: Verdict::Unreadable,
            reply: Reply {
                status,
                headers: HeaderMap::new(),
                body: Bytes::from_static(body.as_bytes()),
                connection: crate::transport::Connection::default(),
            },
            sent: Instant::now(),
            took: Duration::ZERO,
            received: Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn the_latest_fifty_are_kept_the_newest_first() {
        let recent_errors = RecentErrors::default();
        let get = Action::GetImage;
        recent_errors.note(get, CallResult::Ok, &attempt(200, "{}"));
        recent_errors.note(get, CallResult::NotFound, &attempt(404, "{}"));
        assert!(recent_errors.latest().is_empty());
        for _ in 0..KEPT {
            recent_errors.note(get, CallResult::Timeout, &Err(UpstreamError::Timeout));
        }
        let body = r#"{"Code":"ServiceUnavailable","RequestId":"A-1","Message":"secret"}"#;
        recent_errors.note(get, CallResult::ServerError, &attempt(503, body));
        let latest = recent_errors.latest();
        assert_eq!(latest.len(), KEPT);
        let [newest, before, ..] = latest.as_slice() else {
            panic!("there are fifty")
        };
        assert_eq!(newest.code.as_deref(), Some("ServiceUnavailable"));
        assert_eq!(newest.request_id.as_deref(), Some("A-1"));
        assert_eq!(
            (newest.operation, newest.result),
            ("GetImage", "server_error")
        );
        assert_eq!((before.result, &before.code), ("timeout", &None));
    }

    #[test]
    fn what_is_no_word_is_not_kept() {
        let long = "x".repeat(MAX_WORD + 1);
        for text in ["", "two words", "<b>", "\u{e9}", &long] {
            assert_eq!(word(text), None, "{text}");
        }
        assert_eq!(
            word("InvalidImage.NotExist").as_deref(),
            Some("InvalidImage.NotExist")
        );
    }
}
