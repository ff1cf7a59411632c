//! Lease on a fetch for the whole fleet, and the marker that a failed fetch leaves in its place.

use std::time::Duration;

use super::clock::ClockReading;
use super::log::StreamId;
use crate::api::ImageKey;

/// Right to fetch one key for the fleet. It expires by itself, so a replica that dies with it keeps no
/// other waiting for longer than [`Config::lease`](super::Config::lease).
#[derive(Debug)]
pub struct Lease {
    pub(super) key: ImageKey,
    /// Random value that only the holder knows; every command on the lease compares it.
    pub(super) token: String,
    /// The server's clock and the position of the log at the grant; `None` where no reply confirmed it, so
    /// that the lease can only be released.
    pub(super) granted: Option<(ClockReading, StreamId)>,
}

impl Lease {
    /// Creates a lease that the server may have granted although no reply came.
    pub(super) fn unconfirmed(key: &ImageKey, token: String) -> Self {
        Self {
            key: key.clone(),
            token,
            granted: None,
        }
    }
}

/// Failure of the origin that replaces the lease for a moment, so that waiting replicas do not repeat the
/// fetch. A failure of the fetching replica (its credential, queue or network) leaves no marker, because
/// another replica may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMarker {
    /// No answer within the deadline.
    Timeout,
    /// An error of the origin's own.
    Server,
    /// A throttle, with the pause that the origin asks for.
    Throttled(Duration),
}

/// Lifetime of a marker, in which no replica fetches the key again.
const MARKER_LIFE: Duration = Duration::from_millis(500);
/// Bound on the lifetime of a throttle's marker.
const MAX_MARKER_LIFE: Duration = Duration::from_secs(2);

impl FailureMarker {
    /// Returns the marker's text and its lifetime. The leading `!` tells a marker from a lease's token.
    pub(super) fn encode(self) -> (String, Duration) {
        match self {
            Self::Timeout => ("!timeout".to_owned(), MARKER_LIFE),
            Self::Server => ("!server".to_owned(), MARKER_LIFE),
            Self::Throttled(wait) => {
                let wait = wait.clamp(Duration::from_millis(1), MAX_MARKER_LIFE);
                (format!("!throttled {}", wait.as_millis()), wait)
            }
        }
    }

    /// Parses a marker. Text that cannot be read counts as [`FailureMarker::Server`].
    pub(super) fn decode(marker: &[u8]) -> Self {
        let text = std::str::from_utf8(marker).unwrap_or("");
        match text.split_once(' ') {
            Some(("!throttled", wait)) => {
                Self::Throttled(Duration::from_millis(wait.parse().unwrap_or(500)))
            }
            _ if text == "!timeout" => Self::Timeout,
            _ => Self::Server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_decodes_to_the_failure_that_it_encodes() {
        let throttled = FailureMarker::Throttled(Duration::from_millis(700));
        for failure in [FailureMarker::Timeout, FailureMarker::Server, throttled] {
            assert_eq!(
                FailureMarker::decode(failure.encode().0.as_bytes()),
                failure
            );
        }
        for odd in [&b"!"[..], b"!throttled", b"\xff", b""] {
            assert_eq!(FailureMarker::decode(odd), FailureMarker::Server);
        }
        let long = FailureMarker::Throttled(Duration::from_secs(60));
        assert_eq!(long.encode().1, MAX_MARKER_LIFE);
    }
}
