//! Behind memory: what the fleet shares, and behind that the origin.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::directives::FORCED_INTERVAL;
use super::fetch::FetchReason;
use crate::api::{ImageKey, OriginError};
use crate::cache::{Cache, CachedAnswer, Entry, FetchResult, LookupResult, Policy};
use crate::observability::traces::SpanGuard;
use crate::priority::SharedPriority;
use crate::shared_cache::{FailureMarker, Lease, Lookup, SharedCache};
use crate::upstream::{ParentFault, Throttle, UpstreamError};

/// The road of one fetch.
pub(super) struct TieredFetch {
    pub(super) shared: Option<Arc<SharedCache>>,
    pub(super) cache: Arc<Cache<UpstreamError>>,
    /// For all of it.
    pub(super) deadline: Duration,
    pub(super) key: ImageKey,
    pub(super) urgency: SharedPriority,
    /// Nothing older than this will do.
    pub(super) oldest: Option<Duration>,
    /// The span of asking what the fleet has.
    pub(super) span: SpanGuard,
}

impl TieredFetch {
    /// Takes what the fleet has, or asks, for the fleet where that can be.
    pub(super) async fn fetch(
        mut self,
        ask: impl Future<Output = FetchResult<UpstreamError>>,
    ) -> FetchResult<UpstreamError> {
        let Some(shared) = self.shared.take() else {
            return ask.await;
        };
        let until = Instant::now() + self.deadline;
        let ask = async {
            timeout_at(until, ask)
                .await
                .unwrap_or(Err(UpstreamError::Timeout))
        };
        let policy = self.cache.policy();
        let offer_stale =
            |entry: &Arc<Entry>| self.cache.offer_stale(&self.key, &self.urgency, entry);
        let lookup = shared.get_or_lease(&self.key, self.oldest, &policy, offer_stale);
        let Ok(lookup) = timeout_at(until, lookup).await else {
            return Err(UpstreamError::Timeout);
        };
        self.span.set("result", || lookup.as_str());
        self.span = SpanGuard::none();
        match lookup {
            Lookup::Hit(landed) => Ok(landed),
            Lookup::RecentFailure(failure) => Err(failure.into()),
            Lookup::Unavailable(unconfirmed) => {
                let fetched = ask.await;
                self.leave(shared, unconfirmed, &fetched);
                fetched
            }
            Lookup::Leased(lease) => {
                let fetched = shared.keep(&lease, ask).await;
                self.hand_over(shared, lease, fetched.clone(), policy);
                fetched
            }
        }
    }

    /// Tells the fleet what came of a fetch, while who waits here is answered.
    fn hand_over(
        &self,
        shared: Arc<SharedCache>,
        lease: Lease,
        fetched: FetchResult<UpstreamError>,
        policy: Arc<Policy>,
    ) {
        self.cache.tasks().spawn(async move {
            match &fetched {
                Ok(landed) if is_storable(landed) => shared.put(&lease, landed, &policy).await,
                Ok(_) => shared.release(&lease, None).await,
                Err(error) => shared.release(&lease, failure(error)).await,
            }
        });
    }

    /// Gives back a lease that may have been given, and takes away what the origin says there is not.
    fn leave(
        &self,
        shared: Arc<SharedCache>,
        unconfirmed: Option<Lease>,
        fetched: &FetchResult<UpstreamError>,
    ) {
        let is_gone = matches!(fetched, Ok(CachedAnswer::Negative(_)));
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

/// The greatest age of what is newer than what was seen, and new enough for who asks.
pub(super) fn oldest(
    shared: &SharedCache,
    seen: &LookupResult,
    cause: Option<FetchReason>,
    now: Instant,
) -> Option<Duration> {
    let newer = seen
        .sent()
        .map(|sent| shared.newer_than(now.saturating_duration_since(sent)));
    let forced = cause
        .is_some_and(FetchReason::bypasses_parent)
        .then_some(FORCED_INTERVAL);
    newer.into_iter().chain(forced).min()
}

fn is_storable(landed: &CachedAnswer) -> bool {
    match landed {
        CachedAnswer::Image(entry) => entry.storable,
        CachedAnswer::Negative(_) => true,
    }
}

/// What other replicas should know of an error: what another would only meet again.
fn failure(error: &UpstreamError) -> Option<FailureMarker> {
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
        | UpstreamError::Credential(_)
        | UpstreamError::Permission(_)
        | UpstreamError::CircuitOpen
        | UpstreamError::Overloaded
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
