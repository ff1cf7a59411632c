//! Telling every replica what to forget.

use std::sync::Arc;

use redis::aio::ConnectionLike;
use redis::{ErrorKind, RedisError, RedisResult};

use tokio::time::Instant;

use super::commands::CommandError;
use super::connection::RedisConnection;
use super::log::{self, LogEvent, StreamId};
use super::{SharedCache, whole};
use crate::api::ImageId;
use crate::cache::{Cache, PurgeMode, PurgeTarget};
use crate::observability::metrics::{SharedOperation, SharedResult};

/// The message that there are orders; no image is called so.
const LOG_APPENDED: &str = "!orders";

/// So many orders are kept in the log, roughly.
const MAX_LOG_RECORDS: &str = "10000";

/// Makes the whole fleet forget, and tells how many entries of this replica that met; begun, it is
/// finished, whoever waits. See [`Cache::purge_durably`].
pub async fn invalidate<E: Clone + Send + Sync + 'static>(
    shared: Option<&Arc<SharedCache>>,
    cache: &Arc<Cache<E>>,
    scope: &PurgeTarget,
    how: PurgeMode,
) -> u64 {
    let (shared, own, scope) = (shared.cloned(), Arc::clone(cache), scope.clone());
    let forgetting = cache.tasks().spawn(async move {
        // First there, or a fetch could bring back from there what is forgotten here.
        if let Some(shared) = shared {
            shared.invalidate(&scope, how).await;
        }
        own.purge_durably(&scope, how).await
    });
    forgetting.await.unwrap_or_default()
}

impl SharedCache {
    /// Tells every replica what to forget; where that cannot be done now, as soon as it can.
    async fn invalidate(&self, scope: &PurgeTarget, how: PurgeMode) {
        let told = self.commands.run(async |mut connection| {
            self.append_invalidation(&mut connection, scope, how).await
        });
        let told = told.await;
        self.count(
            SharedOperation::Invalidate,
            told.map_or_else(CommandError::result, |()| SharedResult::Ok),
        );
        if told.is_err() {
            let mut outbox = self.outbox.lock();
            outbox.push(scope.clone(), how);
            self.metrics.shared.unheard.set(whole(outbox.len()));
            drop(outbox);
            self.wake.notify_one();
        }
    }

    /// Removes what is stored of an image, of which the origin has just said that it is none.
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

    /// Removes what is stored, then writes the order down: who reads it finds nothing old any more.
    pub(super) async fn append_invalidation(
        &self,
        connection: &mut RedisConnection,
        scope: &PurgeTarget,
        how: PurgeMode,
    ) -> RedisResult<()> {
        if let PurgeTarget::Image(image) = scope {
            let names = self.names.all(image);
            redis::cmd("DEL").arg(names).exec_async(connection).await?;
        }
        let event = LogEvent::Invalidate(scope.clone(), how);
        let at = self.append(connection, event.clone()).await?;
        let mut watermarks = self.watermarks.lock();
        watermarks.record(at, &event);
        watermarks.appended = at;
        drop(watermarks);
        let mut outbox = self.outbox.lock();
        outbox.record_delivered(scope.clone(), how, Instant::now());
        Ok(())
    }

    /// Orders of the last minute are told to the server that is there now.
    pub(super) fn resend_recent(&self) {
        let mut outbox = self.outbox.lock();
        outbox.resend_recent(Instant::now());
        self.metrics.shared.unheard.set(whole(outbox.len()));
    }

    pub(super) async fn append(
        &self,
        connection: &mut impl ConnectionLike,
        event: LogEvent,
    ) -> RedisResult<StreamId> {
        let writer = self.replica.clone();
        let record = log::LogRecord { writer, event };
        let at: String = redis::cmd("XADD")
            .arg(self.names.log())
            .arg(&["MAXLEN", "~", MAX_LOG_RECORDS, "*"])
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
                "a stream's id",
                format!("{error}"),
            ))
        })
    }
}
