//! Body and request id of an entry, in one allocation of their exact length.

use bytes::Bytes;
use http::HeaderValue;

use super::saturating;

/// A body and the origin's request id: a range of the body if the body contains it, else the bytes behind it.
#[derive(Debug, Clone)]
pub(super) struct PackedText {
    text: Bytes,
    body_length: u32,
    request_id_at: u32,
    /// Length of the id; 0 without one.
    request_id_length: u32,
}

impl PackedText {
    /// Copies both: an answer that arrives may be a small part of a large buffer, and would keep all of it
    /// alive.
    pub(super) fn of(body: &Bytes, request_id: Option<&HeaderValue>) -> Self {
        let id = request_id.map_or(&b""[..], HeaderValue::as_bytes);
        let within = memchr::memmem::find(body, id);
        let more = if within.is_some() { b"" } else { id };
        Self {
            text: [body, more].concat().into(),
            body_length: saturating(body.len()),
            request_id_at: saturating(within.unwrap_or(body.len())),
            request_id_length: saturating(id.len()),
        }
    }

    pub(super) fn body(&self) -> Bytes {
        self.text.slice(..self.body_length as usize)
    }

    pub(super) fn request_id(&self) -> Option<HeaderValue> {
        if self.request_id_length == 0 {
            return None;
        }
        let start = self.request_id_at as usize;
        let id = self
            .text
            .slice(start..start + self.request_id_length as usize);
        HeaderValue::from_maybe_shared(id).ok()
    }

    /// Returns the number of bytes of both.
    pub(super) const fn len(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_and_request_id_come_out_as_they_went_in() {
        let body = Bytes::from_static(br#"{"RequestId":"A-1"}"#);
        for id in ["A-1", "B-2", ""] {
            let texts = PackedText::of(&body, Some(&HeaderValue::from_static(id)));
            assert_eq!(texts.body(), body);
            let request_id = texts.request_id();
            assert_eq!(
                request_id.as_ref().map_or(&b""[..], HeaderValue::as_bytes),
                id.as_bytes()
            );
        }
        assert_eq!(PackedText::of(&body, None).request_id(), None);
    }

    #[test]
    fn an_id_that_the_body_contains_is_stored_once() {
        let body = Bytes::from_static(br#"{"RequestId":"A-1"}"#);
        let length = |id| PackedText::of(&body, Some(&HeaderValue::from_static(id))).len();
        assert_eq!(
            (length("A-1"), length("B-22")),
            (body.len(), body.len() + 4)
        );
    }
}
