//! Renderings of an image: as the answer of a GetImage, as one image of a Resolve, or not at all.

use std::time::Duration;

use tokio::time::Instant;

use super::context::RequestContext;
use super::exchange::host_of;
use crate::auth::Visible;
use crate::cache::Negative;
use crate::observability::outcome::Outcome;
use crate::response::{self, Answer, CacheStatus, ResolveResult};

/// Renders the result of a lookup or a fetch.
pub(super) trait Render {
    /// The rendered result.
    type Output;

    /// Renders an image of the given age.
    fn image(
        &self,
        image: Visible<'_>,
        age: Duration,
        outcome: Outcome,
        status: CacheStatus,
    ) -> Self::Output;

    /// Renders the origin's negative answer, for a client that may see it.
    fn negative(&self, negative: &Negative, outcome: Outcome, status: CacheStatus) -> Self::Output;
}

/// Renders the answer of a GetImage.
pub(super) struct Single<'a>(pub(super) &'a RequestContext<'a>);

impl Render for Single<'_> {
    type Output = Answer;

    fn image(
        &self,
        image: Visible<'_>,
        age: Duration,
        outcome: Outcome,
        status: CacheStatus,
    ) -> Answer {
        let upstream_status = match outcome {
            // The upstream's Cache-Status describes the fetch of this entry, not this answer.
            Outcome::Hit | Outcome::Stale => None,
            _ => CacheStatus::of_upstream(image.entry().upstream()),
        };
        Answer {
            upstream_status,
            ..response::image(image, age, outcome, status)
        }
    }

    fn negative(&self, negative: &Negative, outcome: Outcome, status: CacheStatus) -> Answer {
        let (id, host) = (self.0.exchange.id.text(), host_of(self.0.head));
        response::negative(negative, id.as_str(), host, outcome, status)
    }
}

/// Renders one image of a Resolve.
pub(super) struct Batch;

impl Render for Batch {
    type Output = ResolveResult;

    fn image(
        &self,
        image: Visible<'_>,
        age: Duration,
        _: Outcome,
        _: CacheStatus,
    ) -> ResolveResult {
        ResolveResult::found(image, age, Instant::now())
    }

    fn negative(&self, negative: &Negative, _: Outcome, _: CacheStatus) -> ResolveResult {
        ResolveResult::negative(negative, Instant::now())
    }
}

/// Renders nothing: for a request that asks only whether the client may view the image.
pub(super) struct NoOutput;

impl Render for NoOutput {
    type Output = ();

    fn image(&self, _: Visible<'_>, _: Duration, _: Outcome, _: CacheStatus) {}

    fn negative(&self, _: &Negative, _: Outcome, _: CacheStatus) {}
}
