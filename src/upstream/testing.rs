//! Answers for unit tests.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{AnswerKind, OriginAnswer, UpstreamFreshness};
use crate::transport::{Connection, Reply};

/// Returns an answer of the API to a request that was sent now.
pub(super) fn answer(kind: AnswerKind) -> OriginAnswer {
    let sent = Instant::now();
    OriginAnswer {
        kind,
        reply: Reply {
            status: 200,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            connection: Connection::default(),
        },
        sent,
        took: Duration::ZERO,
        received: Timestamp::UNIX_EPOCH,
        freshness: UpstreamFreshness::default(),
        asked_after: Some(sent),
    }
}
