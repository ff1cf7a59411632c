//! Panics as log lines, at most one a minute.
//!
//! The standard hook would write to standard error itself and wait for its reader; this one goes through the log's
//! queue. A panic of a request is caught, counted in `panics_total` and answered with 500 elsewhere.

use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::episode::{Episode, Rules};

/// Panics are one episode until a minute has passed without another.
const RULES: Rules = Rules {
    settle: Duration::ZERO,
    quiet: Some(Duration::from_secs(60)),
};

/// Replaces the panic hook of the process.
pub(super) fn log() {
    let episode = Mutex::new(Episode::new(RULES));
    panic::set_hook(Box::new(move |info| {
        // The lock is released before the line is written: writing may panic too.
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
