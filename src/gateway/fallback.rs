//! Answers without a fetch: a stale image instead of an error, and denials from memory.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Gateway;
use super::context::FetchContext;
use super::render::Render;
use crate::api::ImageKey;
use crate::auth::Hidden;
use crate::cache::{Freshness, LookupResult};
use crate::observability::outcome::Outcome;
use crate::response::{CacheStatus, Error};
use crate::upstream::UpstreamError;

impl Gateway {
    /// Serves a cached image in place of the error, where the error permits that.
    ///
    /// The lookup is a new one: a purge or a write may have removed the entry while the request waited. A
    /// client that may not view the image gets the error, as for an image that is not cached.
    pub(super) fn stand_in<R: Render>(
        &self,
        key: &ImageKey,
        context: FetchContext<'_>,
        render: &R,
        error: UpstreamError,
    ) -> Result<R::Output, Error> {
        let now = Instant::now();
        match self.parts.cache.look_up(key, now) {
            LookupResult::Image(entry, _) if error.permits_stale() => {
                let image = context.principal.authorize(&entry);
                let image = image.map_err(|Hidden| Error::from(error))?;
                let (age, status) = (entry.age(now), CacheStatus::OriginError);
                Ok(self.serve_cached(render, image, Outcome::Stale, status, age))
            }
            LookupResult::Image(..) | LookupResult::Negative(_) | LookupResult::Miss => {
                Err(error.into())
            }
        }
    }

    /// Serves a cached image, even if stale, to a client over its miss limit.
    ///
    /// # Errors
    /// [`Error::RateLimited`] where none is cached that the client may view.
    pub(super) fn over_limit<R: Render>(
        &self,
        key: &ImageKey,
        context: FetchContext<'_>,
        render: &R,
        wait: Duration,
    ) -> Result<R::Output, Error> {
        let now = Instant::now();
        let LookupResult::Image(entry, freshness) = self.parts.cache.look_up(key, now) else {
            return Err(Error::RateLimited(wait));
        };
        let image = context.principal.authorize(&entry);
        let image = image.map_err(|Hidden| Error::RateLimited(wait))?;
        let (outcome, status): (_, fn(i64) -> _) = match freshness {
            Freshness::Fresh => (Outcome::Hit, CacheStatus::Hit),
            Freshness::StaleWhileRevalidate | Freshness::StaleIfError | Freshness::Expired => {
                (Outcome::Stale, CacheStatus::OverBudget)
            }
        };
        Ok(self.serve_cached(render, image, outcome, status, entry.age(now)))
    }

    /// Denies an image from memory. A client cannot tell a hidden image from a missing one: both cost a
    /// miss token, and take as long as the queue promises a fetch now and as the earlier fetch did, at most
    /// `api.wait`. Where the queue would refuse a fetch, it refuses the denial too.
    pub(super) async fn deny(
        &self,
        key: &ImageKey,
        context: FetchContext<'_>,
        outcome: Outcome,
        took: Duration,
    ) -> Error {
        let terms = context.terms;
        if let Err(wait) = terms.charge.pay(context.principal) {
            return Error::RateLimited(wait);
        }
        let _slot = match terms.slot.acquire(self) {
            Ok(slot) => slot,
            Err(error) => return error,
        };
        let deadline = terms
            .deadline
            .unwrap_or_else(|| Instant::now() + self.config.wait.0);
        let (client, priority) = (context.principal.name(), terms.max_priority);
        match self.parts.upstream.promise(key, client, priority, deadline) {
            Ok(queued) => {
                sleep((queued + took).min(self.config.wait.0)).await;
                self.unseen(outcome)
            }
            Err(error) => error.into(),
        }
    }
}
