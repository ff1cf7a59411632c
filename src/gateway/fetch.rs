//! GetImage by a fetch: joins or starts the image's flight, waits for it, and falls back on a stale image.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Gateway;
use super::context::FetchContext;
use super::directives::FetchReason;
use super::render::Render;
use super::tiered_fetch::TieredFetch;
use crate::api::{Call, ImageKey};
use crate::auth::Hidden;
use crate::cache::flight::{FlightHandle, WaitError};
use crate::cache::{CachedAnswer, Entry, Fetch, FetchResult, LookupResult};
use crate::observability::logging::Condition;
use crate::observability::outcome::Outcome;
use crate::observability::traces::SpanGuard;
use crate::response::{CacheStatus, Error};
use crate::upstream::priority::Priority;
use crate::upstream::{Propagation, UpstreamError};

/// One request's fetch of an image.
struct ImageFetch<'a> {
    gateway: &'a Gateway,
    key: &'a ImageKey,
    /// The lookup that led here.
    lookup: &'a LookupResult,
    reason: FetchReason,
    propagation: Propagation,
    context: FetchContext<'a>,
    /// End of waiting for the result.
    deadline: Instant,
    /// End of waiting once a stale image could be served instead.
    stale_deadline: Instant,
}

/// An answer that a fetch brought, and how this request came by it.
struct Fetched {
    answer: CachedAnswer,
    outcome: Outcome,
    status: CacheStatus,
}

/// Reason why a fetch brought no answer.
pub(super) enum NotFetched {
    /// The client has no token to start a fetch with, until this time has passed.
    RateLimited(Duration),
    /// The fetch failed or took too long.
    Failed(UpstreamError),
    /// The fetch that this request had joined was refused for a reason that concerns its leader alone.
    LeaderRefused(UpstreamError),
    /// The fetch's task panicked.
    Aborted(WaitError),
}

/// Name of the span of a fetch.
pub(super) const FETCH: &str = "cache.fetch";

impl Gateway {
    /// Fetches an image, or waits for the flight that does. A stale image stands in for an origin that
    /// fails or is slow.
    pub(super) async fn fetch<R: Render>(
        &self,
        key: &ImageKey,
        lookup: &LookupResult,
        reason: FetchReason,
        propagation: Propagation,
        context: FetchContext<'_>,
        render: &R,
    ) -> Result<R::Output, Error> {
        let _slot = context.terms.slot.acquire(self)?;
        let fetch = ImageFetch::new(self, key, lookup, reason, propagation, context);
        let mut result = fetch.run().await;
        // A leader of lower priority may be shed, and one that came in a loop refused, where this request
        // would not be. So it tries once more, as the leader if no other request has become one.
        if let Err(NotFetched::LeaderRefused(_)) = result {
            result = fetch.run().await;
        }
        match result {
            Ok(fetched) => fetch.answer(&fetched, render).await,
            Err(NotFetched::RateLimited(wait)) => self.over_limit(key, context, render, wait),
            Err(NotFetched::Failed(error) | NotFetched::LeaderRefused(error)) => {
                self.stand_in(key, context, render, error)
            }
            Err(NotFetched::Aborted(error)) => Err(self.aborted(error)),
        }
    }

    /// Counts and logs a fetch whose task panicked.
    pub(super) fn aborted(&self, error: WaitError) -> Error {
        let metrics = &self.parts.metrics;
        let conditions = &metrics.conditions;
        conditions.occurred(Condition::Panics, "fetch", || error.to_string());
        metrics.panics.inc();
        Error::Internal
    }

    /// Starts a fetch in the background, at most once a second for an entry.
    pub(super) fn revalidate(
        &self,
        key: &ImageKey,
        lookup: &LookupResult,
        propagation: Propagation,
        context: FetchContext<'_>,
    ) {
        if matches!(lookup, LookupResult::Image(entry, _) if !entry.begin_refresh(Instant::now())) {
            return;
        }
        let propagation = propagation.by(context.principal.name());
        self.start_refresh(key, lookup, propagation, || {
            context.trace.linked_root(FETCH)
        });
    }

    /// Starts a fetch that no request waits for; `span` begins its trace.
    pub(super) fn start_refresh(
        &self,
        key: &ImageKey,
        lookup: &LookupResult,
        propagation: Propagation,
        span: impl FnOnce() -> SpanGuard,
    ) {
        let parts = &self.parts;
        let start =
            |flight| TieredFetch::new(parts, key, lookup, None, flight, propagation, span()).run();
        let (cache, priority) = (&parts.cache, Priority::Background);
        drop(cache.fetch(key, lookup, priority, || Ok(()), start));
    }
}

impl<'a> ImageFetch<'a> {
    fn new(
        gateway: &'a Gateway,
        key: &'a ImageKey,
        lookup: &'a LookupResult,
        reason: FetchReason,
        propagation: Propagation,
        context: FetchContext<'a>,
    ) -> Self {
        let (config, now) = (&gateway.config, Instant::now());
        let stale_wait = now + config.wait_with_stale.0;
        let deadline = match lookup {
            LookupResult::Image(entry, _) if context.principal.may_view(&entry.ownership) => {
                stale_wait
            }
            // A hidden image must not shorten the wait, for that would reveal it.
            LookupResult::Image(..) | LookupResult::Negative(_) | LookupResult::Miss => {
                let deadline = context.terms.deadline;
                deadline.unwrap_or(now + config.wait.0)
            }
        };
        let propagation = Propagation {
            no_cache: reason.bypasses_parent(),
            ..propagation
        };
        Self {
            gateway,
            key,
            lookup,
            reason,
            propagation: propagation.by(context.principal.name()),
            context,
            deadline,
            stale_deadline: deadline.min(stale_wait),
        }
    }

    /// Joins or starts the flight and waits for its result.
    async fn run(&self) -> Result<Fetched, NotFetched> {
        let coalesced = (Outcome::Coalesced, CacheStatus::Collapsed);
        // The span of waiting lasts until the end of this function.
        let (waiter, (outcome, status), _span) = match self.join() {
            Fetch::Started(mut waiter) => {
                if self.context.terms.is_batch() {
                    // Its images are not polled while its client does not read.
                    waiter.detach();
                }
                (waiter, self.reason.outcome(), SpanGuard::none())
            }
            Fetch::Joined(waiter) => (waiter, coalesced, self.context.trace.wait_for(self.key)),
            Fetch::AlreadyCached(answer) => return Ok(Fetched::new(answer, coalesced)),
            Fetch::RateLimited(wait) => return Err(NotFetched::RateLimited(wait)),
        };
        let result = waiter.wait_until(|stale| self.deadline(stale)).await;
        let answer = landed(result, outcome, || self.still_queued())?;
        Ok(Fetched::new(answer, (outcome, status)))
    }

    fn join(&self) -> Fetch<UpstreamError> {
        let admit = || self.context.terms.charge.pay(self.context.principal);
        let cache = &self.gateway.parts.cache;
        cache.fetch(self.key, self.lookup, self.priority(), admit, |flight| {
            self.start(flight)
        })
    }

    fn priority(&self) -> Priority {
        self.reason.priority().min(self.context.terms.max_priority)
    }

    fn still_queued(&self) -> UpstreamError {
        let (upstream, client) = (&self.gateway.parts.upstream, self.context.principal.name());
        let call = Call::get_image(self.key.clone());
        upstream.still_queued(&call, client, self.priority())
    }

    fn start(
        &self,
        flight: FlightHandle,
    ) -> impl Future<Output = FetchResult<UpstreamError>> + Send + use<> {
        let propagation = self.propagation.clone();
        let span = self.context.trace.span(FETCH);
        let (parts, reason) = (&self.gateway.parts, Some(self.reason));
        TieredFetch::new(
            parts,
            self.key,
            self.lookup,
            reason,
            flight,
            propagation,
            span,
        )
        .awaited_until(self.refusal_deadline())
        .run()
    }

    /// Returns the deadline by which the fetch must be promised an answer; none where a stale image stands in for it.
    fn refusal_deadline(&self) -> Option<Instant> {
        match self.lookup {
            LookupResult::Image(entry, _) if self.context.principal.may_view(&entry.ownership) => {
                None
            }
            LookupResult::Image(..) | LookupResult::Negative(_) | LookupResult::Miss => {
                Some(self.deadline)
            }
        }
    }

    /// Returns the end of waiting, which an image on offer advances only for a client that may view it.
    fn deadline(&self, stale: Option<&Arc<Entry>>) -> Instant {
        match stale {
            Some(entry) if self.context.principal.may_view(&entry.ownership) => self.stale_deadline,
            Some(_) | None => self.deadline,
        }
    }

    /// Answers with a fetched image, or denies it after the time that its fetch took: an answer that was
    /// joined or cached a moment ago must not come sooner than a real fetch.
    async fn answer<R: Render>(&self, fetched: &Fetched, render: &R) -> Result<R::Output, Error> {
        let answer = self.authorize(fetched, render);
        if matches!(answer, Err(Error::ImageNotFound { .. })) {
            let end = self.context.at + fetched.answer.took();
            sleep_until(end.min(self.deadline)).await;
        }
        answer
    }

    fn authorize<R: Render>(&self, fetched: &Fetched, render: &R) -> Result<R::Output, Error> {
        let (principal, outcome) = (self.context.principal, fetched.outcome);
        match &fetched.answer {
            CachedAnswer::Image(entry) => {
                let image = principal
                    .authorize(entry)
                    .map_err(|Hidden| self.gateway.unseen(Outcome::Denied))?;
                let age = entry.age(Instant::now());
                Ok(render.image(image, age, outcome, fetched.status))
            }
            CachedAnswer::Negative(negative) if principal.is_anonymous() => {
                Ok(render.negative(negative, outcome, fetched.status))
            }
            CachedAnswer::Negative(_) => Err(self.gateway.unseen(outcome)),
        }
    }
}

/// Returns the answer that a wait ended with. `outcome` says whether the request had joined another's fetch;
/// `still_queued` makes the error of a fetch that waits for its turn beyond the request's deadline.
///
/// # Errors
/// [`NotFetched`] for a fetch that failed, took too long or panicked.
pub(super) fn landed<A>(
    result: Result<Result<A, UpstreamError>, WaitError>,
    outcome: Outcome,
    still_queued: impl FnOnce() -> UpstreamError,
) -> Result<A, NotFetched> {
    match result {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_about_leader() && outcome == Outcome::Coalesced => {
            Err(NotFetched::LeaderRefused(error))
        }
        Ok(Err(error)) => Err(NotFetched::Failed(error)),
        Err(WaitError::TimedOut) => Err(NotFetched::Failed(UpstreamError::Timeout)),
        Err(WaitError::StillQueued) => Err(NotFetched::Failed(still_queued())),
        Err(WaitError::Aborted) => Err(NotFetched::Aborted(WaitError::Aborted)),
    }
}

impl Fetched {
    const fn new(answer: CachedAnswer, (outcome, status): (Outcome, CacheStatus)) -> Self {
        Self {
            answer,
            outcome,
            status,
        }
    }
}
