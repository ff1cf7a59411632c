//! The roads of GetImage that lead to the origin.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::render::Render;
use super::tiered_fetch::{self, TieredFetch};
use super::{FetchContext, Gateway, ingest};
use crate::api::{Call, ImageKey, OriginError};
use crate::auth::Hidden;
use crate::cache::flight::Aborted;
use crate::cache::{CachedAnswer, Fetch, FetchResult, Freshness, LookupResult, Waiter};
use crate::observability::logging::Condition;
use crate::observability::outcome::Outcome;
use crate::observability::traces::SpanGuard;
use crate::priority::{Priority, SharedPriority};
use crate::response::{CacheStatus, Error};
use crate::upstream::{Propagation, UpstreamError};

/// Why a request fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchReason {
    /// There is nothing to answer with.
    Miss,
    /// The same, and the client wants none that a parent has had for long either.
    MissNoCache,
    /// The client wants newer than what there is.
    Refresh,
}

impl FetchReason {
    const fn outcome(self) -> (Outcome, CacheStatus) {
        match self {
            Self::Miss | Self::MissNoCache => (Outcome::Miss, CacheStatus::Stored),
            Self::Refresh => (Outcome::Refresh, CacheStatus::Forced),
        }
    }

    /// Whether a parent is to ask the origin too.
    pub(super) const fn bypasses_parent(self) -> bool {
        matches!(self, Self::MissNoCache | Self::Refresh)
    }
}

/// The span of asking the origin for an image.
const FETCH: &str = "cache.fetch";

impl Gateway {
    /// Fetches, or waits for who is fetching; a stale image stands in for an origin that fails or is slow.
    pub(super) async fn fetch<M: Render>(
        &self,
        key: &ImageKey,
        known: LookupResult,
        cause: FetchReason,
        context: FetchContext<'_>,
        render: &M,
    ) -> Result<M::Output, Error> {
        let propagation = Propagation {
            no_cache: cause.bypasses_parent(),
            ..self.parts.upstream.propagation(context.headers)?
        }
        .by(context.principal.name());
        let _waiting = render.permit(self)?;
        let now = Instant::now();
        let deadline = match &known {
            LookupResult::Image(entry, _) if context.principal.may_view(&entry.ownership) => {
                now + self.config.wait_with_stale.0
            }
            // Who may not see what is held waits as if nothing were.
            LookupResult::Image(..) | LookupResult::Negative(_) | LookupResult::Miss => {
                render.deadline(now + self.config.wait.0)
            }
        };
        let mut tried = false;
        loop {
            let start = |urgency| {
                let propagation = propagation.clone();
                self.call(
                    key,
                    &known,
                    Some(cause),
                    urgency,
                    propagation,
                    context.trace.span(FETCH),
                )
            };
            let admit = || render.charge(context.principal);
            let coalesced = (Outcome::Coalesced, CacheStatus::Collapsed);
            let fetch = self
                .parts
                .cache
                .fetch(key, &known, render.priority(cause), admit, start);
            let (waiter, (outcome, status), _wait) = match fetch {
                Fetch::Started(waiter) => (waiter, cause.outcome(), SpanGuard::none()),
                Fetch::Joined(waiter) => (waiter, coalesced, context.trace.wait_for(key)),
                Fetch::AlreadyCached(arrived) => {
                    let shown = self.show_in_time(&arrived, context, render, coalesced, deadline);
                    return shown.await;
                }
                Fetch::RateLimited(wait) => return self.over_budget(key, context, render, wait),
            };
            let error = match self.arrival(waiter, key, context, deadline).await {
                Some(Ok(Ok(arrived))) => {
                    let how = (outcome, status);
                    return self
                        .show_in_time(&arrived, context, render, how, deadline)
                        .await;
                }
                Some(Ok(Err(error))) => error,
                Some(Err(aborted)) => {
                    let metrics = &self.parts.metrics;
                    let conditions = &metrics.conditions;
                    conditions.occurred(Condition::Panics, "fetch", || aborted.to_string());
                    metrics.panics.inc();
                    return Err(Error::Internal);
                }
                None => UpstreamError::Timeout,
            };
            // What was refused to a less urgent fetch, or to one that came another way, need not be refused to this one.
            let again = error.is_the_starters() && outcome == Outcome::Coalesced;
            if !again || std::mem::replace(&mut tried, true) {
                return self.stand_in(key, context, render, error);
            }
        }
    }

    /// What a fetch brings by the deadline; sooner, where what the fleet holds has been lent meanwhile
    /// and could be shown instead.
    async fn arrival(
        &self,
        waiter: Waiter<FetchResult<UpstreamError>>,
        key: &ImageKey,
        context: FetchContext<'_>,
        deadline: Instant,
    ) -> Option<Result<FetchResult<UpstreamError>, Aborted>> {
        let mut arrival = pin!(waiter.wait());
        if self.parts.shared.is_some() {
            let soon = deadline.min(Instant::now() + self.config.wait_with_stale.0);
            if let Ok(arrived) = timeout_at(soon, &mut arrival).await {
                return Some(arrived);
            }
            let known = self.parts.cache.look_up(key, Instant::now());
            if matches!(known, LookupResult::Image(entry, _) if context.principal.may_view(&entry.ownership))
            {
                return None;
            }
        }
        timeout_at(deadline, arrival).await.ok()
    }

    /// As [`Self::show`]; what is not shown takes the time that its fetch took, wherever it came from.
    async fn show_in_time<M: Render>(
        &self,
        landed: &CachedAnswer,
        context: FetchContext<'_>,
        render: &M,
        how: (Outcome, CacheStatus),
        deadline: Instant,
    ) -> Result<M::Output, Error> {
        let shown = self.show(landed, context, render, how);
        if matches!(shown, Err(Error::ImageNotFound { .. })) {
            sleep_until((context.at + landed.took()).min(deadline)).await;
        }
        shown
    }

    /// Answers with what has landed, if it may be shown.
    fn show<M: Render>(
        &self,
        landed: &CachedAnswer,
        context: FetchContext<'_>,
        render: &M,
        (outcome, status): (Outcome, CacheStatus),
    ) -> Result<M::Output, Error> {
        match landed {
            CachedAnswer::Image(entry) => {
                let seen = context.principal.authorize(entry);
                let seen = seen.map_err(|Hidden| self.unseen(Outcome::Denied))?;
                let age = entry.age(Instant::now());
                Ok(render.image(seen, age, outcome, status))
            }
            CachedAnswer::Negative(negative) if context.principal.is_anonymous() => {
                Ok(render.negative(negative, outcome, status))
            }
            CachedAnswer::Negative(_) => Err(self.unseen(outcome)),
        }
    }

    /// Answers with an older image where the error permits it. What is held is looked up anew: it may
    /// have been purged or written to while this request waited. Who may not see it hears of the
    /// error, as for an image that is not there.
    fn stand_in<M: Render>(
        &self,
        key: &ImageKey,
        context: FetchContext<'_>,
        render: &M,
        error: UpstreamError,
    ) -> Result<M::Output, Error> {
        let now = Instant::now();
        match self.parts.cache.look_up(key, now) {
            LookupResult::Image(entry, _) if error.permits_stale() => {
                let seen = context.principal.authorize(&entry);
                let seen = seen.map_err(|Hidden| Error::from(error))?;
                let age = seen.entry().age(now);
                Ok(self.serve_held(render, seen, Outcome::Stale, CacheStatus::OriginError, age))
            }
            _ => Err(error.into()),
        }
    }

    /// Answers with what is held, however old, for want of a token to fetch with.
    fn over_budget<M: Render>(
        &self,
        key: &ImageKey,
        context: FetchContext<'_>,
        render: &M,
        wait: Duration,
    ) -> Result<M::Output, Error> {
        let now = Instant::now();
        let LookupResult::Image(entry, freshness) = self.parts.cache.look_up(key, now) else {
            return Err(Error::RateLimited(wait));
        };
        let seen = context.principal.authorize(&entry);
        let seen = seen.map_err(|Hidden| Error::RateLimited(wait))?;
        let (outcome, status): (_, fn(i64) -> _) = match freshness {
            Freshness::Fresh => (Outcome::Hit, CacheStatus::Hit),
            _ => (Outcome::Stale, CacheStatus::OverBudget),
        };
        let age = seen.entry().age(now);
        Ok(self.serve_held(render, seen, outcome, status, age))
    }

    /// Says from memory that there is no such image, at the price of a miss and in the time one took:
    /// an image that may not be seen is told from one that is not there by neither.
    pub(super) async fn deny<M: Render>(
        &self,
        context: FetchContext<'_>,
        render: &M,
        outcome: Outcome,
        took: Duration,
    ) -> Error {
        if let Err(wait) = render.charge(context.principal) {
            return Error::RateLimited(wait);
        }
        let Ok(_waiting) = render.permit(self) else {
            return Error::Overloaded;
        };
        sleep(took.min(self.config.wait.0)).await;
        self.unseen(outcome)
    }

    /// Fetches again in the background, once a second at most, and not on behalf of a request that came in a circle.
    pub(super) fn revalidate(
        &self,
        key: &ImageKey,
        seen: &LookupResult,
        context: FetchContext<'_>,
    ) {
        let Ok(propagation) = self.parts.upstream.propagation(context.headers) else {
            return;
        };
        if matches!(seen, LookupResult::Image(entry, _) if !entry.begin_refresh(Instant::now())) {
            return;
        }
        let propagation = propagation.by(context.principal.name());
        let fetch = self.parts.cache.fetch(
            key,
            seen,
            Priority::Background,
            || Ok(()),
            |urgency| {
                self.call(
                    key,
                    seen,
                    None,
                    urgency,
                    propagation,
                    context.trace.linked_root(FETCH),
                )
            },
        );
        drop(fetch);
    }

    /// The fetch itself: what the fleet has, or one call, and what it means for the cache. Without a
    /// cause nobody waits for it.
    fn call(
        &self,
        key: &ImageKey,
        seen: &LookupResult,
        cause: Option<FetchReason>,
        urgency: SharedPriority,
        propagation: Propagation,
        span: SpanGuard,
    ) -> impl Future<Output = FetchResult<UpstreamError>> + Send + use<> {
        let (upstream, cache, metrics) = (
            Arc::clone(&self.parts.upstream),
            Arc::clone(&self.parts.cache),
            Arc::clone(&self.parts.metrics),
        );
        let key = key.clone();
        span.set("image.id", || key.image.as_str().to_owned());
        span.set("verbose", || key.verbose);
        let shared = self.parts.shared.as_ref();
        let tiers = TieredFetch {
            shared: shared.cloned(),
            cache: Arc::clone(&cache),
            deadline: upstream.deadline(),
            key: key.clone(),
            urgency: urgency.clone(),
            oldest: shared
                .and_then(|shared| tiered_fetch::oldest(shared, seen, cause, Instant::now())),
            span: shared.map_or_else(SpanGuard::none, |_| span.span("cache.shared")),
        };
        let held = match seen {
            LookupResult::Image(entry, _) => Some(Arc::clone(entry)),
            LookupResult::Negative(_) | LookupResult::Miss => None,
        };
        let ask = async move {
            let _link = span.publish_link(&key);
            let call = Call::get_image(key.clone());
            let answer = upstream
                .send(&call, Bytes::new(), &urgency, &propagation, &span)
                .await
                .inspect_err(|_| span.fail("nothing was fetched"))?;
            if ingest::names_another_image(&key.image, held.as_deref(), &answer) {
                return Err(UpstreamError::Unreadable(OriginError::default()));
            }
            let policy = cache.policy();
            let landed = ingest::ingest(answer, key.verbose, &policy);
            if let CachedAnswer::Image(entry) = &landed
                && policy.ignores(entry.directives())
            {
                metrics.origin_directives_ignored.inc();
            }
            Ok(landed)
        };
        tiers.fetch(ask)
    }
}
