//! Lookup of a stored value, or the grant of a lease, in one round trip.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use tokio::time::Instant;

use super::clock::ClockReading;
use super::commands::CommandError;
use super::log::StreamId;
use super::value::{self, DecodeError};
use super::{SharedCache, clock_reading, milliseconds};
use crate::api::ImageKey;
use crate::cache::{CachedAnswer, Freshness, Policy};
use crate::observability::metrics::SharedResult;

pub(super) static GET: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/get.lua")));

/// State of a key at the time of the lookup, as `scripts/get.lua` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupState {
    /// A value is stored that is fresh by the ttl of the replica that stored it.
    Fresh,
    /// The lease was free and is this replica's now.
    Leased,
    /// Another replica holds the lease.
    LeasedElsewhere,
    /// The lease holder's fetch failed a moment ago.
    RecentFailure,
}

impl LookupState {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Fresh,
            1 => Self::Leased,
            3 => Self::RecentFailure,
            _ => Self::LeasedElsewhere,
        }
    }
}

/// Bound on the bytes of a value. An image has about 1 KiB. A longer answer is not stored, and a longer
/// value in the server was not written by a gateway.
pub(super) const LONGEST_VALUE: usize = 4 << 20;

/// Greatest age that is asked for where the request sets none: longer than any value is stored.
const MAX_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reply of `scripts/get.lua`, not decoded yet.
pub(super) struct GetReply {
    pub(super) state: LookupState,
    /// Stored value; empty without one.
    pub(super) stored: Vec<u8>,
    /// Encoded [`FailureMarker`](super::FailureMarker); empty except for a recent failure.
    pub(super) marker: Vec<u8>,
    pub(super) lease_left: Duration,
    pub(super) clock: ClockReading,
    /// Position of the log before the command was sent, so that an invalidation meanwhile counts as later.
    pub(super) watermark: StreamId,
}

impl SharedCache {
    pub(super) async fn get(
        &self,
        key: &ImageKey,
        token: &str,
        oldest: Option<Duration>,
        ignore_stored: bool,
    ) -> Result<GetReply, CommandError> {
        let position = self.invalidation.lock().position();
        let watermark = position.ok_or(CommandError::Skipped)?;
        let oldest = oldest.map_or(MAX_AGE, |age| age.min(MAX_AGE));
        let (asked, (server, state, stored, marker, lease_left)) = self
            .commands
            .run(async |mut connection| {
                // Taken once the command has its permit: the wait for one would make the value look older.
                let asked = Instant::now();
                let reply = GET
                    .key(self.names.image(key))
                    .key(self.names.absence(&key.image))
                    .key(self.names.lease(key))
                    .arg(token)
                    .arg(milliseconds(self.config.lease.0))
                    .arg(milliseconds(oldest))
                    .arg(u8::from(ignore_stored))
                    .arg(LONGEST_VALUE)
                    .invoke_async::<(u64, u8, Vec<u8>, Vec<u8>, i64)>(&mut connection)
                    .await?;
                Ok((asked, reply))
            })
            .await?;
        Ok(GetReply {
            state: LookupState::of(state),
            stored,
            marker,
            lease_left: Duration::from_millis(u64::try_from(lease_left).unwrap_or(0)),
            clock: clock_reading(server, asked),
            watermark,
        })
    }

    /// Decodes the stored value for this replica's settings.
    ///
    /// # Errors
    /// [`DecodeError::Outdated`] where an invalidation stands behind the value's position in the log, and the
    /// others for a value that cannot be read.
    pub(super) fn decode(
        &self,
        key: &ImageKey,
        reply: &GetReply,
        policy: &Policy,
    ) -> Result<(CachedAnswer, Freshness), DecodeError> {
        let names = [self.names.image(key), self.names.absence(&key.image)];
        let stored = value::decode([&names[0], &names[1]], &reply.stored, &reply.clock)?;
        let watermark = stored.watermark;
        let (landed, freshness) = stored
            .into_cached(policy, &reply.clock, Instant::now())
            .ok_or(DecodeError::Outdated)?;
        let admitted = self
            .invalidation
            .lock()
            .admits(watermark, value::workspace(&landed));
        if admitted {
            Ok((landed, freshness))
        } else {
            Err(DecodeError::Outdated)
        }
    }
}

impl DecodeError {
    pub(super) const fn result(self) -> SharedResult {
        match self {
            Self::Foreign => SharedResult::Foreign,
            Self::Version => SharedResult::Version,
            Self::Corrupt => SharedResult::Corrupt,
            Self::Outdated => SharedResult::Outdated,
        }
    }
}
