//! The latest attempts that the origin did not answer well, for `/status`.

use std::collections::VecDeque;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::api::{Operation, OriginError};
use crate::observability::outcome::CallResult;

/// Number of errors that are kept; an older one makes way for a newer.
const KEPT: usize = 50;
/// Length of the longest Code or request id that is kept, in bytes.
const MAX_WORD: usize = 64;
/// Length of the longest message that is kept, in bytes; the rest of a longer one is cut off.
const MAX_MESSAGE: usize = 512;

/// One failed attempt. It holds no body, and nothing that was signed: `classify` has replaced such a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecentError {
    /// Time of its end.
    pub time: String,
    /// Operation that was called.
    pub operation: &'static str,
    /// Label that it was counted under.
    pub result: &'static str,
    /// Image that was asked for, if the operation names one.
    pub image_id: Option<String>,
    /// The origin's Code, if it gave one.
    pub code: Option<String>,
    /// The origin's message, if it gave one, cut to 512 bytes.
    pub message: Option<String>,
    /// The origin's id of its response, if there was one.
    pub request_id: Option<String>,
}

/// Ring of the latest errors, at most [`KEPT`].
#[derive(Debug, Default)]
pub(super) struct RecentErrors(Mutex<VecDeque<RecentError>>);

impl RecentErrors {
    /// Records an attempt, unless it brought the image or its absence. `error` is the origin's, where it answered.
    pub(super) fn record(
        &self,
        operation: &Operation,
        result: CallResult,
        error: Option<&OriginError>,
    ) {
        if matches!(result, CallResult::Ok | CallResult::NotFound) {
            return;
        }
        self.keep(RecentError {
            time: Timestamp::now().to_string(),
            operation: operation.action().as_str(),
            result: result.as_str(),
            image_id: operation.image().map(|image| image.as_str().to_owned()),
            code: error.and_then(|error| word(&error.code)),
            message: error.and_then(|error| message(&error.message)),
            request_id: error.and_then(|error| word(&error.request_id)),
        });
    }

    /// Returns all that are kept, the newest first.
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

/// Returns the text if it looks as Codes and ids do: a broken origin's prose is not shown.
fn word(text: &str) -> Option<String> {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_word = (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(belongs);
    is_word.then(|| text.to_owned())
}

/// Returns the start of a message, on one line and without control characters; `None` for an empty one.
fn message(text: &str) -> Option<String> {
    let mut kept = String::with_capacity(text.len().min(MAX_MESSAGE));
    for c in text.trim().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if kept.len() + c.len_utf8() > MAX_MESSAGE {
            break;
        }
        kept.push(c);
    }
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ImageId, ImageKey};

    #[test]
    fn the_latest_fifty_are_kept_the_newest_first() {
        let recent_errors = RecentErrors::default();
        let get = &Operation::GetImage(ImageKey {
            image: ImageId::parse("image-1").unwrap(),
            verbose: false,
        });
        recent_errors.record(get, CallResult::Ok, None);
        recent_errors.record(get, CallResult::NotFound, Some(&OriginError::default()));
        assert!(recent_errors.latest().is_empty());
        for _ in 0..KEPT {
            recent_errors.record(get, CallResult::Timeout, None);
        }
        let body =
            br#"{"Code":"ServiceUnavailable","RequestId":"A-1","Message":"  No capacity\nleft "}"#;
        let error = OriginError::parse(503, body);
        recent_errors.record(get, CallResult::ServerError, Some(&error));
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
        assert_eq!(newest.image_id.as_deref(), Some("image-1"));
        assert_eq!(newest.message.as_deref(), Some("No capacity left"));
        assert_eq!((before.result, &before.code), ("timeout", &None));
        assert_eq!(before.message, None);
    }

    #[test]
    fn a_message_is_cut_at_a_character_and_kept_on_one_line() {
        assert_eq!(message(" \n "), None);
        assert_eq!(message("a\r\n\u{1b}b").as_deref(), Some("a   b"));
        let long = "x".repeat(MAX_MESSAGE - 1) + "\u{e9}";
        assert_eq!(message(&long).unwrap(), "x".repeat(MAX_MESSAGE - 1));
    }

    #[test]
    fn a_malformed_code_is_not_stored() {
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
