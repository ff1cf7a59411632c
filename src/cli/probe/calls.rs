//! Calls to the origin, one after the other.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::error::ProbeFailure;
use super::facts::ClockOffset;
use super::record::Recording;
use crate::api::{Action, Call, ImageFields, Operation};
use crate::observability::traces::Trace;
use crate::transport::Reply;
use crate::upstream::priority::{Priority, SharedPriority};
use crate::upstream::{AnswerKind, OriginAnswer, Patience, Propagation, Upstream, UpstreamError};

/// Caller of the origin, which sends one call after the other, counts them, records their answers, and keeps the date of
/// the one that came soonest.
pub(super) struct Caller<'a> {
    upstream: &'a Upstream,
    recording: Option<Recording>,
    calls: u32,
    /// Date, arrival and duration of the answer that came soonest.
    soonest: Option<(Timestamp, Timestamp, Duration)>,
}

/// Response to a call about a resource that exists.
pub(super) struct Found {
    pub(super) reply: Reply,
    pub(super) fields: ImageFields,
}

impl<'a> Caller<'a> {
    pub(super) const fn new(upstream: &'a Upstream, recording: Option<Recording>) -> Self {
        Self {
            upstream,
            recording,
            calls: 0,
            soonest: None,
        }
    }

    /// Returns the number of calls so far.
    pub(super) const fn calls(&self) -> u32 {
        self.calls
    }

    /// Returns the offset of the origin's clock by the answer that came soonest; `None` if no answer has a readable date.
    pub(super) fn clock(&self) -> Option<ClockOffset> {
        let (date, received, took) = self.soonest?;
        Some(ClockOffset::new(date, received, took))
    }

    /// Returns what was recorded.
    pub(super) fn into_recording(self) -> Option<Recording> {
        self.recording
    }

    /// Sends one call when its turn comes, behind every call that a client waits for.
    pub(super) async fn send(&mut self, call: &Call) -> Result<OriginAnswer, UpstreamError> {
        self.calls += 1;
        let priority = SharedPriority::new(Priority::Prewarm);
        let urgency = (&priority, Patience::Fetch(None));
        let (propagation, untraced) = (Propagation::default(), Trace::none());
        let sent = self
            .upstream
            .send(call, Bytes::new(), urgency, &propagation, &untraced)
            .await;
        if let Some(recording) = &mut self.recording {
            recording.take(call, &sent);
        }
        if let Ok(answer) = &sent
            && let Some(date) = answer.reply.date()
            && self.soonest.is_none_or(|(.., took)| answer.took < took)
        {
            self.soonest = Some((date, answer.received, answer.took));
        }
        sent
    }
}

/// Builds the call for the first page of a search, sorted by creation time as the catalogue's walks are, with this many
/// images at most.
pub(super) fn list(search: &[(&'static str, String)], size: u32, verbose: bool) -> Call {
    let fixed = [
        ("SortBy", "GmtCreateTime".to_owned()),
        ("Order", "ASC".to_owned()),
        ("PageNumber", "1".to_owned()),
        ("PageSize", size.to_string()),
    ];
    let verbose = verbose.then(|| ("Verbose", "true".to_owned()));
    let query = search.iter().cloned().chain(fixed).chain(verbose);
    Call {
        operation: Operation::ListImages,
        query: query.collect(),
    }
}

pub(super) fn found(action: Action, answer: OriginAnswer) -> Result<Found, ProbeFailure> {
    match answer.kind {
        AnswerKind::Success(fields) => Ok(Found {
            reply: answer.reply,
            fields,
        }),
        AnswerKind::NotFound(error) | AnswerKind::Forbidden(error) => {
            Err(ProbeFailure::Denied { action, error })
        }
    }
}

pub(super) fn failed(action: Action, error: UpstreamError) -> ProbeFailure {
    match error {
        UpstreamError::Permission(error) => ProbeFailure::Denied { action, error },
        error => ProbeFailure::Failed { action, error },
    }
}
