//! Proofs that the server is a writable primary, and that the address still leads to it.
//!
//! A read proves nothing: a demoted primary, or one that is cut off, answers reads for ever.
//!
//! - Each read of the log **writes a key first**, in the same pipeline. A server that refuses it (a replica,
//!   a primary with fewer replicas than `min-replicas-to-write`, one that is full or cannot persist) could
//!   not accept an invalidation either, so the connection counts as lost.
//! - A primary that was cut off accepts writes as before, unless it requires replicas. Every few seconds a
//!   **second connection**, made by the address, therefore writes a token that must appear on the connection
//!   in use. If it does not, the address leads to another server by now.
//!
//! A cut-off primary that the address itself leads to cannot be found out here, because no other server
//! can be reached. The nodes of a cluster learn their addresses from each other, so the proof only covers
//! the one that the address names.

use std::time::Duration;

use redis::aio::SendError;
use redis::{PushInfo, RedisError};
use tokio::time::{error::Elapsed, sleep, timeout};

use super::connection::{ConnectionError, RedisConnection, connect};
use super::log::{PAGE_SIZE, RawPage, StreamId};
use super::log_reader::READ_TIMEOUT;
use super::{SharedCache, random_name};

/// Pause between two connections by the address, spread by a fifth, so that the replicas of a fleet do not
/// connect at one moment.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Reads of the token, and the pause between them: a proxy may read from a replica that lags.
const MAX_READS: u32 = 10;
const READ_INTERVAL: Duration = Duration::from_millis(100);
/// Lifetime of the probes' keys in milliseconds, so that a replica that is gone leaves none behind.
const LIFE: &str = "30000";

/// Failure of a proof, which shows nothing about the connection in use.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Connect(#[from] ConnectionError),
    #[error(transparent)]
    Server(#[from] RedisError),
    #[error("the server does not reply in time")]
    Late(#[from] Elapsed),
}

impl SharedCache {
    /// Reads a page of the log, from `from` on, that record included, after a write that proves that the
    /// server accepts writes.
    ///
    /// # Errors
    /// The server's error for the write or for the read.
    pub(super) async fn prove_and_read(
        &self,
        connection: &mut RedisConnection,
        from: Option<StreamId>,
    ) -> Result<RawPage, RedisError> {
        let (page,) = redis::pipe()
            .cmd("SET")
            .arg(self.names.write_probe(&self.replica))
            .arg(&["1", "PX", LIFE])
            .ignore()
            .cmd("XRANGE")
            .arg(self.names.log())
            .arg(from.map_or_else(|| "-".to_owned(), |last| last.to_string()))
            .arg("+")
            .arg(&["COUNT", &PAGE_SIZE.to_string()])
            .query_async(connection)
            .await?;
        Ok(page)
    }

    /// Returns once the address leads to another server than the connection in use. A second connection that
    /// fails changes nothing: the server may only be short of connections.
    pub(super) async fn leads_elsewhere(&self, mut current: RedisConnection) {
        loop {
            sleep(PROBE_INTERVAL.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            match self.is_same_server(&mut current).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "no second connection to the shared cache: the one in use stays");
                }
            }
        }
    }

    /// Writes a token over a second connection and returns whether the connection in use reads it.
    async fn is_same_server(&self, current: &mut RedisConnection) -> Result<bool, ProbeError> {
        let ignore = |_: PushInfo| Ok::<(), SendError>(());
        let longest = self.config.connect_timeout.0 * 2;
        let mut fresh = timeout(longest, connect(&self.url, &self.config, ignore)).await??;
        let (key, token) = (self.names.address_probe(&self.replica), random_name());
        // A random token each time: one that an earlier probe wrote must not pass for this one.
        let mut write = redis::cmd("SET");
        write.arg(&key).arg(&[&token, "PX", LIFE]);
        timeout(READ_TIMEOUT, write.exec_async(&mut fresh)).await??;
        for _ in 0..MAX_READS {
            let mut read = redis::cmd("GET");
            let shown: Option<String> =
                timeout(READ_TIMEOUT, read.arg(&key).query_async(current)).await??;
            if shown.as_ref() == Some(&token) {
                return Ok(true);
            }
            sleep(READ_INTERVAL).await;
        }
        Ok(false)
    }
}
