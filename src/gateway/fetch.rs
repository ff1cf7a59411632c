//! The roads of GetImage that lead to the origin.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{Asked, Gateway, landing};
use crate::api::{Call, ImageKey};
use crate::cache::{Fetch, Fetched, Known, Landed};
use crate::outcome::Outcome;
use crate::response::{Answer, CacheStatus, Error};
use crate::upstream::UpstreamError;

impl Gateway {
    /// Fetches, or waits for who is fetching; a stale image stands in for an origin that fails or is slow.
    pub(super) async fn fetch(
        &self,
        key: &ImageKey,
        known: Known,
        (caused, stored): (Outcome, CacheStatus),
        asked: &Asked<'_>,
    ) -> Result<Answer, Error> {
        let _waiting = self.wait_in_line()?;
        let (seat, outcome, status) = match self.cache.fetch(key, &known, || self.call(key)) {
            Fetch::Started(seat) => (seat, caused, stored),
            Fetch::Joined(seat) => (seat, Outcome::Coalesced, CacheStatus::Collapsed),
            Fetch::Landed(arrived) => {
                return Ok(landing::answer(
                    &arrived,
                    asked.host(),
                    Outcome::Coalesced,
                    CacheStatus::Collapsed,
                ));
            }
        };
        let wait = match known {
            Known::Image(..) => self.config.wait_with_stale.0,
            Known::Negative(_) | Known::Nothing => self.config.wait.0,
        };
        let error = match timeout(wait, seat.arrival()).await {
            Ok(Ok(Ok(arrived))) => {
                return Ok(landing::answer(&arrived, asked.host(), outcome, status));
            }
            Ok(Ok(Err(error))) => error,
            Ok(Err(flight_lost)) => {
                tracing::error!(error = %flight_lost, "a fetch panicked");
                return Err(Error::Internal);
            }
            Err(_) => UpstreamError::Timeout,
        };
        self.stand_in(key, error)
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
        drop(self.cache.fetch(key, seen, || self.call(key)));
    }

    /// The fetch itself: one call, and what it means for the cache.
    fn call(&self, key: &ImageKey) -> impl Future<Output = Fetched<UpstreamError>> + Send + use<> {
        let (upstream, cache, metrics) = (
            Arc::clone(&self.upstream),
            Arc::clone(&self.cache),
            Arc::clone(&self.metrics),
        );
        let key = key.clone();
        async move {
            let answer = upstream
                .send(&Call::get_image(key.clone()), Bytes::new())
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
