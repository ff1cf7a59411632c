//! Invalidation across the fleet: deletes stored values and appends a record to the log.

use std::sync::Arc;

use redis::aio::ConnectionLike;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::time::Instant;

use super::SharedCache;
use super::commands::CommandError;
use super::connection::RedisConnection;
use super::invalidation_state::Event;
use super::log::{Invalidation, LogEvent, LogRecord, StreamId};
use crate::api::ImageId;
use crate::cache::{Cache, PurgeMode, PurgeTarget};
use crate::observability::metrics::{SharedOperation, SharedResult};

/// Message of the channel that announces a record; no image id has this form.
const LOG_APPENDED: &str = "!orders";

/// Number of records that the server keeps, roughly. A replica that was away for more finds a gap.
const MAX_RECORDS: &str = "10000";

/// Invalidates matching entries on every replica, and returns the number of this replica's entries that
/// matched. Once begun it runs to its end, even if the caller goes away. See [`Cache::purge_durably`].
pub async fn invalidate<E: Clone + Send + Sync + 'static>(
    shared: Option<&Arc<SharedCache>>,
    cache: &Arc<Cache<E>>,
    target: &PurgeTarget,
    mode: PurgeMode,
) -> u64 {
    let (shared, own, target) = (shared.cloned(), Arc::clone(cache), target.clone());
    let invalidating = cache.tasks().spawn(async move {
        // The shared cache first: a fetch between the two could bring the old value back into memory.
        if let Some(shared) = shared {
            let target = target.clone();
            shared.invalidate(Invalidation { target, mode }).await;
        }
        own.purge_durably(&target, mode).await
    });
    invalidating.await.unwrap_or_default()
}

impl SharedCache {
    /// Appends an invalidation to the log; where no server accepts it, the outbox keeps it for the log reader.
    async fn invalidate(&self, invalidation: Invalidation) {
        let appended = self
            .commands
            .run(async |mut connection| {
                self.append_invalidation(&mut connection, &invalidation)
                    .await
            })
            .await;
        self.count(
            SharedOperation::Invalidate,
            appended.map_or_else(CommandError::result, |()| SharedResult::Ok),
        );
        if appended.is_err() {
            self.apply(Event::AppendFailed(invalidation));
            self.wake.notify_one();
        }
    }

    /// Deletes the stored values of an image that the origin has just reported missing.
    pub async fn erase(&self, image: &ImageId) {
        let names = self.names.all(image);
        let erased = self.commands.run(async |mut connection| {
            redis::cmd("DEL")
                .arg(names)
                .exec_async(&mut connection)
                .await
        });
        let result = erased.await.map(|()| true);
        self.count_result(SharedOperation::Release, result);
    }

    /// Deletes the stored values, then appends the record. In this order a replica that has read the record
    /// finds no old value any more. The lease is among the deleted keys, so a fetch that began before the
    /// invalidation cannot store its answer.
    pub(super) async fn append_invalidation(
        &self,
        connection: &mut RedisConnection,
        invalidation: &Invalidation,
    ) -> RedisResult<()> {
        if let PurgeTarget::Image(image) = &invalidation.target {
            let names = self.names.all(image);
            redis::cmd("DEL").arg(names).exec_async(connection).await?;
        }
        let event = LogEvent::Invalidate(invalidation.clone());
        let at = self.append(connection, event).await?;
        self.apply(Event::Appended {
            at,
            invalidation: invalidation.clone(),
            now: Instant::now(),
        });
        Ok(())
    }

    /// Appends a record and wakes every replica's log reader.
    pub(super) async fn append(
        &self,
        connection: &mut impl ConnectionLike,
        event: LogEvent,
    ) -> RedisResult<StreamId> {
        let writer = self.replica.clone();
        let record = LogRecord { writer, event };
        let at: String = redis::cmd("XADD")
            .arg(self.names.log())
            .arg(&["MAXLEN", "~", MAX_RECORDS, "*"])
            .arg(record.fields())
            .query_async(connection)
            .await?;
        redis::cmd("PUBLISH")
            .arg(self.names.channel())
            .arg(LOG_APPENDED)
            .exec_async(connection)
            .await?;
        at.parse().map_err(|error| {
            RedisError::from((
                ErrorKind::UnexpectedReturnType,
                "XADD returned no stream id",
                format!("{error}"),
            ))
        })
    }
}
