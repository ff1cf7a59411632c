//! The fetch of one flight: from the shared cache if the fleet has the image, else from the origin.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::directives::{FORCED_INTERVAL, FetchReason};
use super::{GatewayParts, ingest};
use crate::api::{Call, ImageKey, OriginError};
use crate::cache::flight::FlightHandle;
use crate::cache::{Cache, CachedAnswer, Entry, FetchResult, LookupResult, Policy};
use crate::observability::metrics::Metrics;
use crate::observability::traces::SpanGuard;
use crate::shared_cache::{FailureMarker, Lease, Lookup, SharedCache};
use crate::upstream::{ParentFault, Patience, Propagation, Throttle, Upstream, UpstreamError};

/// A fetch that outlives the request that started it: it owns all that it needs.
pub(super) struct TieredFetch {
    shared: Option<Arc<SharedCache>>,
    cache: Arc<Cache<UpstreamError>>,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    key: ImageKey,
    flight: FlightHandle,
    propagation: Propagation,
    patience: Patience,
    /// Greatest age of an answer from the shared cache that will do; `None` for any fresh one.
    max_age: Option<Duration>,
    /// The image in memory when the fetch began, which a foreign answer must not replace.
    cached: Option<Arc<Entry>>,
    span: SpanGuard,
}

impl TieredFetch {
    /// Prepares a fetch of `key` after `lookup`; without a `reason`, no request waits for it.
    pub(super) fn new(
        parts: &GatewayParts,
        key: &ImageKey,
        lookup: &LookupResult,
        reason: Option<FetchReason>,
        flight: FlightHandle,
        propagation: Propagation,
        span: SpanGuard,
    ) -> Self {
        span.set("image.id", || key.image.as_str().to_owned());
        span.set("verbose", || key.verbose);
        let shared = parts.shared.as_deref();
        let cached = match lookup {
            LookupResult::Image(entry, _) => Some(Arc::clone(entry)),
            LookupResult::Negative(_) | LookupResult::Miss => None,
        };
        Self {
            shared: parts.shared.clone(),
            cache: Arc::clone(&parts.cache),
            upstream: Arc::clone(&parts.upstream),
            metrics: Arc::clone(&parts.metrics),
            key: key.clone(),
            flight,
            propagation,
            patience: Patience::Fetch(None),
            max_age: shared.and_then(|shared| max_age(shared, lookup, reason, Instant::now())),
            cached,
            span,
        }
    }

    /// Sets the deadline of the request that waits for the fetch: a call that would be answered later is refused. A
    /// request that has a stale copy to fall back on sets none, so that its fetch stays in the queue.
    pub(super) fn awaited_until(self, deadline: Option<Instant>) -> Self {
        Self {
            patience: Patience::Fetch(deadline),
            ..self
        }
    }

    /// Fetches, within the deadline of one call to the origin for the shared cache, and another for the origin from
    /// the call's slot on.
    pub(super) async fn run(mut self) -> FetchResult<UpstreamError> {
        let Some(shared) = self.shared.take() else {
            return self.fetch_origin().await;
        };
        let deadline = Instant::now() + self.upstream.deadline();
        let policy = self.cache.policy();
        let Ok(lookup) = timeout_at(deadline, self.look_up_shared(&shared, &policy)).await else {
            return Err(UpstreamError::Timeout);
        };
        let from_origin = self.fetch_origin();
        match lookup {
            Lookup::Hit(answer) => Ok(answer),
            Lookup::RecentFailure(failure) => Err(failure.into()),
            Lookup::Unavailable(unconfirmed) => {
                let result = from_origin.await;
                self.clean_up(shared, unconfirmed, &result);
                result
            }
            Lookup::Leased(lease) => {
                let result = shared.keep(&lease, from_origin).await;
                self.publish(shared, lease, result.clone(), policy);
                result
            }
        }
    }

    async fn look_up_shared(&self, shared: &SharedCache, policy: &Policy) -> Lookup {
        let span = self.span.span("cache.shared");
        // Another replica's fetch of the image may wait for its turn, as this one would.
        let _stay = self.flight.priority.enter_queue();
        let offer_stale = |entry: &Arc<Entry>| {
            self.cache.offer_stale(&self.key, &self.flight, entry);
        };
        let lookup = shared.get_or_lease(&self.key, self.max_age, policy, offer_stale);
        let lookup = lookup.await;
        span.set("result", || lookup.as_str());
        lookup
    }

    async fn fetch_origin(&self) -> FetchResult<UpstreamError> {
        let (key, span) = (&self.key, &self.span);
        let _link = span.publish_link(key);
        let call = Call::get_image(key.clone());
        let (urgency, propagation) = ((&self.flight.priority, self.patience), &self.propagation);
        let answer = self
            .upstream
            .send(&call, Bytes::new(), urgency, propagation, span)
            .await
            .inspect_err(|_| span.fail("nothing was fetched"))?;
        if ingest::names_another_image(&key.image, self.cached.as_deref(), &answer) {
            return Err(UpstreamError::Unreadable(OriginError::default()));
        }
        let policy = self.cache.policy();
        let answer = ingest::ingest(answer, key.verbose, &policy);
        if let CachedAnswer::Image(entry) = &answer
            && policy.ignores(entry.directives())
        {
            self.metrics.origin_directives_ignored.inc();
        }
        Ok(answer)
    }

    /// Writes the result to the shared cache and gives the lease back, in a task: waiters need not wait
    /// for that.
    fn publish(
        &self,
        shared: Arc<SharedCache>,
        lease: Lease,
        result: FetchResult<UpstreamError>,
        policy: Arc<Policy>,
    ) {
        self.cache.tasks().spawn(async move {
            match &result {
                Ok(answer) if is_storable(answer) => shared.put(&lease, answer, &policy).await,
                Ok(_) => shared.release(&lease, None).await,
                Err(error) => shared.release(&lease, failure_marker(error)).await,
            }
        });
    }

    /// Gives back a lease whose grant got lost on the way, and erases an image that the origin says does
    /// not exist: without a lease nothing else would remove it from the shared cache.
    fn clean_up(
        &self,
        shared: Arc<SharedCache>,
        unconfirmed: Option<Lease>,
        result: &FetchResult<UpstreamError>,
    ) {
        let is_gone = matches!(result, Ok(CachedAnswer::Negative(_)));
        if unconfirmed.is_none() && !is_gone {
            return;
        }
        let image = self.key.image.clone();
        self.cache.tasks().spawn(async move {
            if let Some(lease) = unconfirmed {
                shared.release(&lease, None).await;
            }
            if is_gone {
                shared.erase(&image).await;
            }
        });
    }
}

/// Returns the greatest age of an answer that is newer than the lookup's and satisfies the client.
fn max_age(
    shared: &SharedCache,
    lookup: &LookupResult,
    reason: Option<FetchReason>,
    now: Instant,
) -> Option<Duration> {
    let newer = lookup.age(now).map(|age| shared.newer_than(age));
    let forced = reason
        .is_some_and(FetchReason::bypasses_parent)
        .then_some(FORCED_INTERVAL);
    newer.into_iter().chain(forced).min()
}

fn is_storable(answer: &CachedAnswer) -> bool {
    match answer {
        CachedAnswer::Image(entry) => entry.storable,
        CachedAnswer::Negative(_) => true,
    }
}

/// Returns the marker of an error that another replica would only meet again; `None` for an error of this one's own.
fn failure_marker(error: &UpstreamError) -> Option<FailureMarker> {
    match error {
        UpstreamError::Timeout | UpstreamError::Parent(ParentFault::Timeout, _) => {
            Some(FailureMarker::Timeout)
        }
        UpstreamError::Throttled(throttle) => Some(FailureMarker::Throttled(
            throttle.wait.unwrap_or(Duration::from_secs(1)),
        )),
        UpstreamError::Server(_)
        | UpstreamError::Foreign(_)
        | UpstreamError::Unreadable(_)
        | UpstreamError::Parent(ParentFault::Unavailable | ParentFault::Unreadable, _) => {
            Some(FailureMarker::Server)
        }
        UpstreamError::Transport(_)
        | UpstreamError::Refused(_)
        | UpstreamError::Account(_)
        | UpstreamError::Credential(_)
        | UpstreamError::Permission(_)
        | UpstreamError::CircuitOpen
        | UpstreamError::Overloaded(_)
        | UpstreamError::NoCredential
        | UpstreamError::Parent(
            ParentFault::Overloaded
            | ParentFault::NotCached
            | ParentFault::Credential
            | ParentFault::Loop,
            _,
        ) => None,
    }
}

impl From<FailureMarker> for UpstreamError {
    fn from(failure: FailureMarker) -> Self {
        match failure {
            FailureMarker::Timeout => Self::Timeout,
            FailureMarker::Server => Self::CircuitOpen,
            FailureMarker::Throttled(wait) => Self::Throttled(Throttle {
                error: OriginError::default(),
                wait: Some(wait),
            }),
        }
    }
}
