//! The right to fetch for a whole fleet, and how a fetch ended for those who wait for it.

use std::time::Duration;

use super::clock::ClockReading;
use super::log::StreamId;
use crate::api::ImageKey;

/// The right to fetch. It ends by itself, so that a replica that dies with it keeps nobody waiting.
#[derive(Debug)]
pub struct Lease {
    pub(super) key: ImageKey,
    /// Nobody else has this one.
    pub(super) token: String,
    /// The server's clock and where the log of orders was when it was granted; nothing where the
    /// server was not heard to give it.
    pub(super) granted: Option<(ClockReading, StreamId)>,
}

impl Lease {
    /// One that may have been given.
    pub(super) fn unconfirmed(key: &ImageKey, token: String) -> Self {
        Self {
            key: key.clone(),
            token,
            granted: None,
        }
    }
}

/// How a fetch failed, as far as it is the origin's doing. What only concerns the replica that fetched
/// (its credential, its queue, its network) is told nobody: another may fare better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMarker {
    /// The origin did not answer in time.
    Timeout,
    /// It failed.
    Server,
    /// It asks for a pause.
    Throttled(Duration),
}

/// For so long nobody else asks an origin that has just failed.
const MARKER_LIFE: Duration = Duration::from_millis(500);
/// The longest throttle that is passed on.
const MAX_MARKER_LIFE: Duration = Duration::from_secs(2);

impl FailureMarker {
    /// What is left in place of the lease, and for how long.
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

    /// Reads a marker. What cannot be read is a failure all the same.
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
    fn a_mark_tells_how_the_fetch_failed() {
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
