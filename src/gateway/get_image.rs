//! GetImage: the lookup in memory, and the decision what to do with its result.

use std::time::Duration;

use tokio::time::Instant;

use super::Gateway;
use super::context::FetchContext;
use super::directives::{RequestDirectives, ServeDecision};
use super::render::Render;
use crate::api::ImageKey;
use crate::auth::{Hidden, Visible};
use crate::cache::{Entry, LookupResult, freshness};
use crate::observability::outcome::Outcome;
use crate::response::{CacheStatus, Error};

impl Gateway {
    /// Answers with an image: from memory if it may be served, else by a fetch.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`] for a missing and a hidden image alike.
    pub(super) async fn get_image<R: Render>(
        &self,
        key: &ImageKey,
        directives: RequestDirectives,
        context: FetchContext<'_>,
        render: &R,
    ) -> Result<R::Output, Error> {
        let lookup = self.look_up_asked(key, context.at);
        if let Some(output) = self.hit(key, &lookup, directives, context, render) {
            return Ok(output);
        }
        self.get_otherwise(key, &lookup, directives, context, render)
            .await
    }

    /// Looks a key up for a client, which tells the catalogue what clients ask for.
    pub(super) fn look_up_asked(&self, key: &ImageKey, now: Instant) -> LookupResult {
        self.parts.cache.client_asks(key.verbose);
        self.parts.cache.look_up(key, now)
    }

    /// Serves a fresh entry that the client may view, unless it wants a newer one. Near the end of the entry's ttl some
    /// requests refresh it early, in the background.
    pub(super) fn hit<R: Render>(
        &self,
        key: &ImageKey,
        lookup: &LookupResult,
        directives: RequestDirectives,
        context: FetchContext<'_>,
        render: &R,
    ) -> Option<R::Output> {
        let (now, principal) = (context.at, context.principal);
        let ServeDecision::Hit(entry) = decide(lookup, directives, context) else {
            return None;
        };
        let image = principal.authorize(entry).ok()?;
        let (resident, fresh_for) = (entry.resident_time(now), entry.fresh_for());
        if freshness::refresh_early(resident, fresh_for, entry.took(), fastrand::f64)
            // The catalogue's next page does that.
            && !entry.is_bound()
            && let Ok(propagation) = self.parts.upstream.propagation(context.headers)
        {
            self.revalidate(key, lookup, propagation, context);
        }
        let age = entry.upstream().initial_age() + resident;
        let status = if entry.is_listed() {
            CacheStatus::Catalogue
        } else {
            CacheStatus::Hit
        };
        Some(self.serve_cached(render, image, Outcome::Hit, status, age))
    }

    /// Answers after a lookup that is no [`hit`](Self::hit).
    pub(super) async fn get_otherwise<R: Render>(
        &self,
        key: &ImageKey,
        lookup: &LookupResult,
        directives: RequestDirectives,
        context: FetchContext<'_>,
        render: &R,
    ) -> Result<R::Output, Error> {
        let (now, principal) = (context.at, context.principal);
        let decision = decide(lookup, directives, context);
        // A hit ends a forwarding loop. Any other result of a lookup is refused alike in one, so that the
        // refusal does not reveal what is cached.
        let propagation = self.parts.upstream.propagation(context.headers)?;
        match decision {
            ServeDecision::Hit(_) => Err(Error::Internal),
            ServeDecision::NotCached => Err(Error::NotCached),
            ServeDecision::Stale(entry) => {
                let image = principal
                    .authorize(entry)
                    .map_err(|Hidden| Error::Internal)?;
                self.revalidate(key, lookup, propagation, context);
                let status = CacheStatus::Revalidating;
                Ok(self.serve_cached(render, image, Outcome::Stale, status, entry.age(now)))
            }
            ServeDecision::Negative(negative) if principal.is_anonymous() => {
                Ok(render.negative(negative, Outcome::Negative, CacheStatus::Negative))
            }
            // As for a hidden image, for which `decide` returns `NotCached`.
            ServeDecision::Negative(_) if directives.only_if_cached => Err(Error::NotCached),
            ServeDecision::Negative(negative) => {
                Err(Box::pin(self.deny(key, context, Outcome::Negative, negative.took)).await)
            }
            ServeDecision::Deny(took) => {
                Err(Box::pin(self.deny(key, context, Outcome::Denied, took)).await)
            }
            ServeDecision::Fetch(reason) => {
                Box::pin(self.fetch(key, lookup, reason, propagation, context, render)).await
            }
        }
    }

    /// Renders an entry from memory and observes its age.
    pub(super) fn serve_cached<R: Render>(
        &self,
        render: &R,
        image: Visible<'_>,
        outcome: Outcome,
        status: fn(i64) -> CacheStatus,
        age: Duration,
    ) -> R::Output {
        let ttl = image.entry().ttl();
        self.parts.metrics.cache_age.observe(age.as_secs_f64());
        render.image(image, age, outcome, status(seconds_left(ttl, age)))
    }

    /// Returns the one 404 that a hidden and a missing image get; `outcome` is for metrics and records.
    pub(super) fn unseen(&self, outcome: Outcome) -> Error {
        Error::ImageNotFound {
            outcome,
            code: self.not_found_code.clone(),
        }
    }
}

/// Decides how to answer a lookup for this client.
fn decide<'l>(
    lookup: &'l LookupResult,
    directives: RequestDirectives,
    context: FetchContext<'_>,
) -> ServeDecision<'l> {
    let may_view = |entry: &Entry| context.principal.may_view(&entry.ownership);
    directives.decide(lookup, context.at, may_view)
}

/// Returns the ttl less the age in whole seconds, as `Age` counts them; negative from the end of the ttl on.
pub(super) fn seconds_left(ttl: Duration, age: Duration) -> i64 {
    let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let left = whole(ttl) - whole(age);
    if age < ttl { left.max(0) } else { left.min(-1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stale_answer_says_that_time_is_left() {
        let left = |ttl, age| seconds_left(Duration::from_millis(ttl), Duration::from_millis(age));
        assert_eq!(
            [left(123_900, 0), left(1_500, 600), left(1_900, 1_899)],
            [123, 1, 0]
        );
        assert_eq!(
            [left(1_000, 1_000), left(1_000, 1_001), left(1_000, 3_500)],
            [-1, -1, -2]
        );
    }
}
