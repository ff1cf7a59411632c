//! The roads of GetImage that lead to the origin.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{Asked, Gateway, landing};
use crate::api::{Call, ImageKey};
use crate::cache::{Fetch, Fetched, Known, Landed};
use crate::outcome::Outcome;
use crate::priority::{Priority, Urgency};
use crate::response::{Answer, CacheStatus, Error};
use crate::upstream::UpstreamError;

/// Why a request fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There is nothing to answer with.
    Miss,
    /// The client wants newer than what there is.
    Demand,
}

impl Cause {
    const fn priority(self) -> Priority {
        match self {
            Self::Miss => Priority::Miss,
            Self::Demand => Priority::Forced,
        }
    }

    const fn outcome(self) -> (Outcome, CacheStatus) {
        match self {
            Self::Miss => (Outcome::Miss, CacheStatus::Stored),
            Self::Demand => (Outcome::Refresh, CacheStatus::Forced),
        }
    }
}

impl Gateway {
    /// Fetches, or waits for who is fetching; a stale image stands in for an origin that fails or is slow.
    pub(super) async fn fetch(
        &self,
        key: &ImageKey,
        known: Known,
        cause: Cause,
        asked: &Asked<'_>,
    ) -> Result<Answer, Error> {
        let _waiting = self.wait_in_line()?;
        let wait = match known {
            Known::Image(..) => self.config.wait_with_stale.0,
            Known::Negative(_) | Known::Nothing => self.config.wait.0,
        };
        let deadline = Instant::now() + wait;
        let mut tried = false;
        loop {
            let start = |urgency| self.call(key, urgency);
            let coalesced = (Outcome::Coalesced, CacheStatus::Collapsed);
            let (seat, (outcome, status)) =
                match self.cache.fetch(key, &known, cause.priority(), start) {
                    Fetch::Started(seat) => (seat, cause.outcome()),
                    Fetch::Joined(seat) => (seat, coalesced),
                    Fetch::Landed(arrived) => {
                        return Ok(landing::answer(&arrived, asked.host(), coalesced));
                    }
                };
            let error = match timeout_at(deadline, seat.arrival()).await {
                Ok(Ok(Ok(arrived))) => {
                    return Ok(landing::answer(&arrived, asked.host(), (outcome, status)));
                }
                Ok(Ok(Err(error))) => error,
                Ok(Err(lost)) => {
                    tracing::error!(error = %lost, "a fetch panicked");
                    return Err(Error::Internal);
                }
                Err(_) => UpstreamError::Timeout,
            };
            // What was refused to a less urgent fetch need not be refused to this one.
            let again = matches!(error, UpstreamError::Shed) && outcome == Outcome::Coalesced;
            if !again || std::mem::replace(&mut tried, true) {
                return self.stand_in(key, error);
            }
        }
    }

    /// Answers with an older image where the error permits it. What is held is looked up anew: it may
    /// have been purged or written to while this request waited.
    fn stand_in(&self, key: &ImageKey, error: UpstreamError) -> Result<Answer, Error> {
        let now = Instant::now();
        match self.cache.look_up(key, now) {
            Known::Image(entry, _) if error.permits_stale() => {
                Ok(self.serve_held(&entry, Outcome::Stale, CacheStatus::OriginError, now))
            }
            _ => Err(error.into()),
        }
    }

    /// Fetches again behind everybody's back.
    pub(super) fn revalidate(&self, key: &ImageKey, seen: &Known) {
        let fetch = self
            .cache
            .fetch(key, seen, Priority::Background, |urgency| {
                self.call(key, urgency)
            });
        drop(fetch);
    }

    /// The fetch itself: one call, and what it means for the cache.
    fn call(
        &self,
        key: &ImageKey,
        urgency: Urgency,
    ) -> impl Future<Output = Fetched<UpstreamError>> + Send + use<> {
        let (upstream, cache, metrics) = (
            Arc::clone(&self.upstream),
            Arc::clone(&self.cache),
            Arc::clone(&self.metrics),
        );
        let key = key.clone();
        async move {
            let answer = upstream
                .send(&Call::get_image(key.clone()), Bytes::new(), &urgency)
                .await?;
            let landed = landing::land(answer, key.verbose, cache.policy());
            if let Landed::Image(entry) = &landed
                && cache.policy().ignores(entry.evidence.directives)
            {
                metrics.origin_directives_ignored.inc();
            }
            Ok(landed)
        }
    }
}
