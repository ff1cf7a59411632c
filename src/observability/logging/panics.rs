//! Panics as log lines: the standard hook would write to standard error itself, and wait for its reader.

use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::episode::{Episode, Rules};

/// Panics are one episode until none came for so long.
const RULES: Rules = Rules {
    settle: Duration::ZERO,
    quiet: Some(Duration::from_secs(60)),
};

/// Has panics logged from now on, at most one line a minute; metrics count those of requests.
pub(super) fn log() {
    let episode = Mutex::new(Episode::new(RULES));
    panic::set_hook(Box::new(move |info| {
        let due = episode.lock().occurred(Instant::now());
        if due.is_some() {
            write(info);
        }
    }));
}

fn write(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let reason: String = text
        .unwrap_or("no reason given")
        .chars()
        .take(MAX_REASON)
        .collect();
    tracing::error!(
        reason,
        "panicked at {location}: this is a defect of the gateway; report it with this line and the version"
    );
}

/// Longest reason in a line, in characters.
const MAX_REASON: usize = 512;
