//! Telling every replica what to forget.

use std::sync::Arc;

use redis::aio::ConnectionLike;
use redis::{ErrorKind, RedisError, RedisResult};

use tokio::time::Instant;

use super::commands::Trouble;
use super::connection::Connection;
use super::orders::{self, Order, Position};
use super::{Shared, whole};
use crate::api::ImageId;
use crate::cache::{Cache, Scope, Thoroughness};
use crate::observability::metrics::{SharedOperation, SharedResult};

/// The message that there are orders; no image is called so.
const ORDERED: &str = "!orders";

/// So many orders are kept in the log, roughly.
const KEPT_ORDERS: &str = "10000";

/// Makes the whole fleet forget, and tells how many entries of this replica that met; begun, it is
/// finished, whoever waits. See [`Cache::purge_durably`].
pub async fn forget<E: Clone + Send + Sync + 'static>(
    shared: Option<&Arc<Shared>>,
    cache: &Arc<Cache<E>>,
    scope: &Scope,
    how: Thoroughness,
) -> u64 {
    let (shared, own, scope) = (shared.cloned(), Arc::clone(cache), scope.clone());
    let forgetting = cache.tasks().spawn(async move {
        // First there, or a fetch could bring back from there what is forgotten here.
        if let Some(shared) = shared {
            shared.forget(&scope, how).await;
        }
        own.purge_durably(&scope, how).await
    });
    forgetting.await.unwrap_or_default()
}

impl Shared {
    /// Tells every replica what to forget; where that cannot be done now, as soon as it can.
    async fn forget(&self, scope: &Scope, how: Thoroughness) {
        let told = self
            .commands
            .run(async |mut connection| self.order(&mut connection, scope, how).await);
        let told = told.await;
        self.count(
            SharedOperation::Invalidate,
            told.map_or_else(Trouble::result, |()| SharedResult::Ok),
        );
        if told.is_err() {
            let mut unheard = self.unheard.lock();
            unheard.push(scope.clone(), how);
            self.metrics.shared.unheard.set(whole(unheard.len()));
            drop(unheard);
            self.bell.notify_one();
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
        self.tell(SharedOperation::Release, result);
    }

    /// Removes what is stored, then writes the order down: who reads it finds nothing old any more.
    pub(super) async fn order(
        &self,
        connection: &mut Connection,
        scope: &Scope,
        how: Thoroughness,
    ) -> RedisResult<()> {
        if let Scope::Image(image) = scope {
            let names = self.names.all(image);
            redis::cmd("DEL").arg(names).exec_async(connection).await?;
        }
        let order = Order::Forget(scope.clone(), how);
        let at = self.write(connection, order.clone()).await?;
        let mut horizon = self.horizon.lock();
        horizon.note(at, &order);
        horizon.written = at;
        drop(horizon);
        let mut unheard = self.unheard.lock();
        unheard.taken(scope.clone(), how, Instant::now());
        Ok(())
    }

    /// Orders of the last minute are told to the server that is there now.
    pub(super) fn tell_again(&self) {
        let mut unheard = self.unheard.lock();
        unheard.tell_again(Instant::now());
        self.metrics.shared.unheard.set(whole(unheard.len()));
    }

    pub(super) async fn write(
        &self,
        connection: &mut impl ConnectionLike,
        order: Order,
    ) -> RedisResult<Position> {
        let by = self.replica.clone();
        let entry = orders::Entry { by, order };
        let at: String = redis::cmd("XADD")
            .arg(self.names.orders())
            .arg(&["MAXLEN", "~", KEPT_ORDERS, "*"])
            .arg(entry.fields())
            .query_async(connection)
            .await?;
        redis::cmd("PUBLISH")
            .arg(self.names.news())
            .arg(ORDERED)
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
