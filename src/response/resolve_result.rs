//! What is answered about one image of many, and about all of them.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Error;
use crate::api::OriginError;
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

/// Code and message of a result that would exceed the limit on the response's length.
const TOO_LONG: (&str, &str) = (
    "Gateway.AnswerTooLong",
    "the answer would be longer than resolve.max_answer: ask for fewer images at once",
);

impl ResolveResult {
    /// Returns the failure of a result that would exceed the limit on the response's length.
    #[must_use]
    pub fn too_long() -> Self {
        Self::Failed(ErrorText::new(TOO_LONG.0, TOO_LONG.1))
    }

    /// Returns the result of an image that the client may see.
    #[must_use]
    pub fn found(seen: Visible<'_>, age: Duration, now: Instant) -> Self {
        Self::Found {
            image: seen.entry().body(),
            age: RunningAge { was: age, at: now },
        }
    }

    /// Returns the result of an item of a list, which the caller must have authorized.
    #[must_use]
    pub const fn listed(image: Bytes, age: Duration, now: Instant) -> Self {
        Self::Found {
            image,
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

    /// Writes the members from `Status` on, and the end of the object.
    pub(super) fn write(&self, now: Instant, to: &mut Vec<u8>) {
        put(to, &[r#""Status":""#]);
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

    /// Returns the bytes of the body, or of the Code and message.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Found { image, .. } => image.len(),
            Self::Missing { text, .. } | Self::Failed(text) => text.code.len() + text.message.len(),
        }
    }
}

impl RunningAge {
    #[cfg(test)]
    pub(super) const fn new(was: Duration, at: Instant) -> Self {
        Self { was, at }
    }

    fn seconds(&self, now: Instant) -> String {
        let age = self.was + now.saturating_duration_since(self.at);
        age.as_secs().to_string()
    }
}

impl ErrorText {
    fn new(code: &str, message: &str) -> Self {
        Self {
            code: quoted(code),
            message: quoted(message),
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

/// Formats a text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text always serializes")
}

/// Appends pieces of text.
pub(super) fn put(to: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        to.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_adds_up() {
        let found = ResolveResult::Found {
            image: "{}".into(),
            age: RunningAge {
                was: Duration::ZERO,
                at: Instant::now(),
            },
        };
        let mut tally = ResolveCounts::default();
        for resolved in [
            found.clone(),
            found,
            ResolveResult::from_error(&Error::Internal),
        ] {
            tally.count(&resolved);
        }
        assert_eq!(
            tally.line("R"),
            "{\"RequestId\":\"R\",\"Found\":2,\"Missing\":0,\"Failed\":1}\n"
        );
    }
}
