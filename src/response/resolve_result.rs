//! What is answered about one image of many, and about all of them.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Error;
use crate::api::{ImageId, OriginError};
use crate::auth::Visible;
use crate::cache::Negative;

/// Result of looking up one image of a Resolve.
#[derive(Debug, Clone)]
pub enum ResolveResult {
    /// The image was found and may be shown.
    Found {
        /// Body of the image, byte for byte.
        image: Bytes,
        /// Age of the image.
        age: RunningAge,
    },
    /// The image does not exist, or is hidden from this client.
    Missing {
        /// Code and message for the client.
        text: ErrorText,
        /// Age of the negative answer, if the client may know it.
        age: Option<RunningAge>,
    },
    /// The lookup failed, with this error.
    Failed(ErrorText),
}

/// Age that grows with time.
#[derive(Debug, Clone, Copy)]
pub struct RunningAge {
    was: Duration,
    at: Instant,
}

/// Code and message of an error, each as JSON text.
#[derive(Debug, Clone)]
pub struct ErrorText {
    code: String,
    message: String,
}

/// Numbers of images that were found, missing and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResolveCounts {
    found: usize,
    missing: usize,
    failed: usize,
}

/// Upper bound, in bytes, of a result's size beside its body or message.
const FRAME: usize = 512;
/// Code and message of a result that would exceed the limit on the response's length.
const TOO_LONG: (&str, &str) = (
    "Gateway.AnswerTooLong",
    "the answer would be longer than resolve.max_answer: ask for fewer images at once",
);

impl ResolveResult {
    /// Returns the result of an image that the client may see.
    #[must_use]
    pub fn found(seen: Visible<'_>, age: Duration, now: Instant) -> Self {
        Self::Found {
            image: seen.entry().body(),
            age: RunningAge { was: age, at: now },
        }
    }

    /// Returns the origin's negative answer, for a client that may know it.
    #[must_use]
    pub fn negative(negative: &Negative, now: Instant) -> Self {
        let was = negative.age(now);
        Self::Missing {
            text: ErrorText::of(&negative.error),
            age: Some(RunningAge { was, at: now }),
        }
    }

    /// Returns the result with the same Code and message as this error of a request for the image alone.
    #[must_use]
    pub fn from_error(error: &Error) -> Self {
        let wire = error.wire();
        let text = ErrorText::new(wire.code, &wire.message);
        match error {
            Error::ImageNotFound { .. } => Self::Missing { text, age: None },
            _ => Self::Failed(text),
        }
    }

    /// Returns this result and subtracts its size from `room`; if it does not fit, returns the error of a
    /// response that would be too long.
    #[must_use]
    pub fn fit_into(self, room: &mut usize) -> Self {
        match room.checked_sub(self.len()) {
            Some(left) => {
                *room = left;
                self
            }
            None => Self::Failed(ErrorText::new(TOO_LONG.0, TOO_LONG.1)),
        }
    }

    /// Returns the room for bodies and messages in a response about this many images of at most `bytes` bytes in total.
    #[must_use]
    pub fn capacity(images: usize, bytes: u64) -> usize {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        bytes.saturating_sub(images.saturating_mul(FRAME))
    }

    /// Formats the result as one line. A line break between two tokens of the body becomes a space.
    #[must_use]
    pub fn line(&self, image: &ImageId, now: Instant) -> Bytes {
        let mut line = Vec::with_capacity(FRAME + self.len());
        self.write(image, now, &mut line);
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        line.push(b'\n');
        line.into()
    }

    /// Formats the whole response, with the results in this order.
    #[must_use]
    pub fn document(request_id: &str, results: &[(&ImageId, Self)], now: Instant) -> Bytes {
        let length = results.iter().map(|(_, result)| FRAME + result.len());
        let mut whole = Vec::with_capacity(FRAME + length.sum::<usize>());
        put(
            &mut whole,
            &[r#"{"RequestId":""#, request_id, r#"","Results":["#],
        );
        for (at, (image, result)) in results.iter().enumerate() {
            put(&mut whole, &[if at > 0 { "," } else { "" }]);
            result.write(image, now, &mut whole);
        }
        put(&mut whole, &["]}"]);
        whole.into()
    }

    fn write(&self, image: &ImageId, now: Instant, to: &mut Vec<u8>) {
        put(to, &[r#"{"ImageId":""#, image.as_str(), r#"","Status":""#]);
        match self {
            Self::Found { image, age } => {
                put(to, &[r#"found","AgeSeconds":"#, &age.seconds(now)]);
                put(to, &[r#","Image":"#]);
                to.extend_from_slice(image);
            }
            Self::Missing { text, age } => {
                put(to, &["missing\""]);
                if let Some(age) = age {
                    put(to, &[r#","AgeSeconds":"#, &age.seconds(now)]);
                }
                text.write(to);
            }
            Self::Failed(text) => {
                put(to, &["failed\""]);
                text.write(to);
            }
        }
        put(to, &["}"]);
    }

    /// Returns an upper bound, in bytes, of the size of this result in the response.
    #[must_use]
    pub fn max_len(&self) -> usize {
        FRAME + self.len()
    }

    fn len(&self) -> usize {
        match self {
            Self::Found { image, .. } => image.len(),
            Self::Missing { text, .. } | Self::Failed(text) => text.code.len() + text.message.len(),
        }
    }
}

impl RunningAge {
    fn seconds(&self, now: Instant) -> String {
        let age = self.was + now.saturating_duration_since(self.at);
        age.as_secs().to_string()
    }
}

impl ErrorText {
    fn new(code: &str, message: &str) -> Self {
        let json = |text: &str| serde_json::to_string(text).expect("text always serializes");
        Self {
            code: json(code),
            message: json(message),
        }
    }

    fn of(error: &OriginError) -> Self {
        Self::new(&error.code, &error.message)
    }

    fn write(&self, to: &mut Vec<u8>) {
        put(to, &[r#","Code":"#, &self.code]);
        put(to, &[r#","Message":"#, &self.message]);
    }
}

impl ResolveCounts {
    /// Counts a result.
    pub const fn count(&mut self, resolved: &ResolveResult) {
        match resolved {
            ResolveResult::Found { .. } => self.found += 1,
            ResolveResult::Missing { .. } => self.missing += 1,
            ResolveResult::Failed(_) => self.failed += 1,
        }
    }

    /// Formats the last line, which marks the end of the stream.
    #[must_use]
    pub fn line(&self, request_id: &str) -> Bytes {
        let Self {
            found,
            missing,
            failed,
        } = self;
        let counts = format!(r#""Found":{found},"Missing":{missing},"Failed":{failed}"#);
        format!("{{\"RequestId\":\"{request_id}\",{counts}}}\n").into()
    }
}

fn put(to: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        to.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(image: &'static str) -> ResolveResult {
        let age = RunningAge {
            was: Duration::from_millis(1_900),
            at: Instant::now(),
        };
        ResolveResult::Found {
            image: image.into(),
            age,
        }
    }

    fn id(text: &str) -> ImageId {
        ImageId::parse(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_answer_carries_bodies_as_they_came_and_ages_as_they_are() {
        let odd = "{ \"Name\" : \"\\u0061\",\n\"X\":null}";
        let missing = ResolveResult::from_error(&Error::ImageNotFound {
            outcome: crate::observability::outcome::Outcome::Denied,
            code: "ImageNotFound".into(),
        });
        let failed = ResolveResult::from_error(&Error::RateLimited(Duration::ZERO));
        let (a, b, c) = (id("a"), id("b"), id("c"));
        let results = [(&a, found(odd)), (&b, missing), (&c, failed)];
        let now = Instant::now() + Duration::from_secs(1);
        let whole =
            String::from_utf8(ResolveResult::document("R", &results, now).to_vec()).unwrap();
        assert_eq!(
            whole,
            [
                r#"{"RequestId":"R","Results":[{"ImageId":"a","Status":"found","AgeSeconds":2,"Image":"#,
                odd,
                r#"},{"ImageId":"b","Status":"missing","Code":"ImageNotFound","Message":"The specified image does not exist."}"#,
                r#",{"ImageId":"c","Status":"failed","Code":"Throttling","Message":"Request was denied due to user flow control."}]}"#,
            ]
            .concat()
        );
    }

    #[test]
    fn a_line_is_one_line_and_says_the_same() {
        let body = "{\r\n  \"Name\": \"a\\nb\"\n}";
        let line = found(body).line(&id("a"), Instant::now());
        let text = std::str::from_utf8(&line).unwrap();
        assert_eq!(text.matches(['\r', '\n']).count(), 1);
        let document: Value = serde_json::from_str(text).unwrap();
        assert_eq!(document["Image"], json!({ "Name": "a\nb" }));
    }

    #[test]
    fn the_room_is_taken_in_turn_and_never_exceeded() {
        let mut room = ResolveResult::capacity(2, 1030);
        assert_eq!(room, 6);
        assert!(matches!(
            found("{1234567}").fit_into(&mut room),
            ResolveResult::Failed(_)
        ));
        assert!(matches!(
            found("{1}").fit_into(&mut room),
            ResolveResult::Found { .. }
        ));
        assert_eq!(room, 3);
        assert_eq!(ResolveResult::capacity(2, 1000), 0);
    }

    #[test]
    fn the_last_line_adds_up() {
        let mut tally = ResolveCounts::default();
        for resolved in [
            found("{}"),
            found("{}"),
            ResolveResult::from_error(&Error::Internal),
        ] {
            tally.count(&resolved);
        }
        assert_eq!(
            tally.line("R"),
            "{\"RequestId\":\"R\",\"Found\":2,\"Missing\":0,\"Failed\":1}\n"
        );
    }

    /// The longest id, age and the refusal that is written instead of what does not fit.
    #[test]
    fn uncounted_bytes_fit_into_the_frame() {
        let refusal = ResolveResult::Failed(ErrorText::new(TOO_LONG.0, TOO_LONG.1));
        let line = refusal.line(&id(&"x".repeat(128)), Instant::now());
        assert!(line.len() < FRAME, "{}", line.len());
    }
}
