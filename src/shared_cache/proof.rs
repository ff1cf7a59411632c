//! Proofs that the server is the primary, and that the address still leads to it.
//!
//! Reads prove nothing: a demoted primary, or one that is cut off, answers them for ever.
//!
//! - Each reading of the log **writes a key first**, in the same pipeline. A server that refuses it (a
//!   replica, one without the replicas that `min-replicas-to-write` asks for, one that is full or cannot
//!   persist) could not take a purge either, so the connection counts as lost.
//! - A primary that was cut off takes writes as before, if it does not ask for replicas. Every few
//!   seconds a **connection made anew** by the address therefore writes a token, which must show on the
//!   connection that is in use. Where it does not, the address leads to another server by now.
//!
//! Where the address leads to a cut-off primary itself, nothing here can tell: no other server can be
//! asked. Nodes of a cluster are not asked by address: they know their places from each other.

use std::time::Duration;

use redis::aio::SendError;
use redis::{PushInfo, RedisError};
use tokio::time::{error::Elapsed, sleep, timeout};

use super::SharedCache;
use super::connection::{ConnectionError, RedisConnection, connect};
use super::log::{PAGE_SIZE, RawPage, StreamId};
use super::log_reader::READ_TIMEOUT;

/// Pause between two connections by the address; spread by a fifth, so that a fleet does not connect at
/// one moment.
const MEETING: Duration = Duration::from_secs(5);
/// Looks for the token, and the pause between them: a proxy may read from a replica that lags.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Lifetime of the keys that are written, in milliseconds: a replica that is gone leaves nothing.
const LIFE: &str = "30000";

/// FailureMarker of a proof that shows nothing about the connection in use.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Connect(#[from] ConnectionError),
    #[error(transparent)]
    Server(#[from] RedisError),
    #[error("it does not reply")]
    Late(#[from] Elapsed),
}

impl SharedCache {
    /// Reads a page of the log, from `from` included, after a write that shows that the server takes
    /// writes.
    ///
    /// # Errors
    /// The server's refusal of the one or the other.
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

    /// Returns once the address leads to another server than this connection does.
    pub(super) async fn leads_elsewhere(&self, mut held: RedisConnection) {
        loop {
            sleep(MEETING.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            match self.show_probe_written_by_address(&mut held).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "no second connection to the shared tier: the one in use stays");
                }
            }
        }
    }

    /// Writes over a connection made anew, and tells whether the one in use shows it.
    async fn show_probe_written_by_address(
        &self,
        held: &mut RedisConnection,
    ) -> Result<bool, ProbeError> {
        let deaf = |_: PushInfo| Ok::<(), SendError>(());
        let longest = self.config.connect_timeout.0 * 2;
        let mut fresh = timeout(longest, connect(&self.url, &self.config, deaf)).await??;
        let (key, token) = (
            self.names.address_probe(&self.replica),
            format!("{:032x}", fastrand::u128(..)),
        );
        let mut write = redis::cmd("SET");
        write.arg(&key).arg(&[&token, "PX", LIFE]);
        timeout(READ_TIMEOUT, write.exec_async(&mut fresh)).await??;
        for _ in 0..LOOKS {
            let mut read = redis::cmd("GET");
            let shown: Option<String> =
                timeout(READ_TIMEOUT, read.arg(&key).query_async(held)).await??;
            if shown.as_ref() == Some(&token) {
                return Ok(true);
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(false)
    }
}
