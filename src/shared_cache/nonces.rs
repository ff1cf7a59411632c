//! Record of write nonces for the fleet: a signed write is sent by one replica, once.
//!
//! A nonce is a key that is set only if it is absent, for as long as its signature can be valid. The server
//! may lose such keys (a restart, a fail-over to a replica that lags), so the record also holds the time
//! from which on it is complete, by the server's own clock. A write signed before that time is
//! [`WriteNonce::Unknown`], never [`WriteNonce::First`]. A replica that finds a gap in the log restarts the
//! record.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::SignedDuration;
use redis::aio::ConnectionLike;
use redis::{RedisResult, Script};

use super::commands::CommandError;
use super::{SharedCache, milliseconds};
use crate::observability::metrics::{SharedOperation, SharedResult};

pub(super) static RECORD: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/nonce.lua")));
static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/nonces.lua")));

/// Lifetime of a nonce: a date is valid for 15 minutes either way, and clocks may differ by as much.
pub(super) const LIFE: Duration = Duration::from_secs(45 * 60);
/// Bound on a date in the future. A later one could have been used before the record began although it
/// lies after that time.
const AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// Result of recording the nonce of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteNonce {
    /// No replica has used the nonce before; it is recorded now, and the write may be sent.
    First,
    /// A replica has used the nonce: the write is a replay.
    Seen,
    /// The write is dated before the record is complete, or more than 5 s ahead, so a replay cannot be
    /// excluded; the client has to sign again.
    Unknown,
}

/// Failure to reach the record, so that a replay cannot be excluded and the write must not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared cache's record of write nonces does not answer")]
pub struct Unavailable;

impl SharedCache {
    /// Records the nonce of a write that is about to be sent.
    ///
    /// `fingerprint` is a digest of key and nonce that is the same on every replica; `age` is the time
    /// since the date that was signed, negative where that is ahead. Takes at most
    /// [`Config::timeout`](super::Config::timeout) and the wait for a permit.
    ///
    /// # Errors
    /// [`Unavailable`] where there is no connection, the breaker is open, or no reply comes in time. The
    /// nonce may be recorded then all the same, so the same bytes may be refused as seen afterwards.
    pub async fn record_write_nonce(
        &self,
        fingerprint: &[u8; 32],
        age: SignedDuration,
    ) -> Result<WriteNonce, Unavailable> {
        if -age > AHEAD {
            return Ok(WriteNonce::Unknown);
        }
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        // One script records and compares: two replicas that ask at once get different results.
        let recorded = self.commands.run(async |mut connection| {
            RECORD
                .key(self.names.write_nonces_since())
                .key(self.names.write_nonce(fingerprint))
                .arg(age)
                .arg(milliseconds(LIFE))
                .invoke_async::<u8>(&mut connection)
                .await
        });
        let recorded = recorded.await;
        let result = recorded.map_or_else(CommandError::result, |number| match number {
            0 => SharedResult::Ok,
            1 => SharedResult::Hit,
            _ => SharedResult::Outdated,
        });
        self.count(SharedOperation::Nonce, result);
        match recorded.map_err(|_| Unavailable)? {
            0 => Ok(WriteNonce::First),
            1 => Ok(WriteNonce::Seen),
            _ => Ok(WriteNonce::Unknown),
        }
    }

    /// Starts the record if there is none, and restarts it with [`Completeness::Lost`].
    pub(super) async fn begin_write_nonces(
        &self,
        connection: &mut impl ConnectionLike,
        completeness: Completeness,
    ) -> RedisResult<()> {
        let anew: u8 = match completeness {
            Completeness::Assumed => 0,
            Completeness::Lost => 1,
            Completeness::New => 2,
        };
        let mut begin = BEGIN.key(self.names.write_nonces_since());
        begin.arg(anew).invoke_async(connection).await
    }
}

/// Completeness of the server's data, as far as this replica can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    /// No loss was found.
    Assumed,
    /// The log has a gap, so nonces may be missing too.
    Lost,
    /// No log exists and this replica has read none: a new fleet, whose first writes may be sent.
    New,
}
