//! One image of a Resolve, tried until the deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::ResolveJob;
use crate::api::{Action, ImageId, ImageKey, ResolveItem};
use crate::gateway::Gateway;
use crate::gateway::context::FetchTerms;
use crate::gateway::directives::RequestDirectives;
use crate::gateway::render::Batch;
use crate::observability::audit::AccessRecord;
use crate::observability::outcome::Outcome;
use crate::response::{self, Error, ResolveResult, ResolvedItem};
use crate::upstream::UpstreamError;

/// First pause before an image is tried again; each next one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

impl Gateway {
    /// Returns the result of one image by the deadline.
    pub(super) async fn resolve_item(&self, item: &ResolveItem, job: &ResolveJob) -> ResolvedItem {
        match item {
            ResolveItem::Id(key) => self.resolve_id(key, job).await.into(),
            ResolveItem::Uri(uri) => self.resolve_uri(uri, job).await,
        }
    }

    async fn resolve_id(&self, key: &ImageKey, job: &ResolveJob) -> ResolveResult {
        let terms = FetchTerms::batch(job.deadline);
        let directives = RequestDirectives::default();
        let get = || self.get_image(key, directives, job.fetch_context(&terms), &Batch);
        let found = persist(job, get).await;
        found.unwrap_or_else(|error| self.failed(Some(&key.image), &error, job))
    }

    /// Turns an error into an image's result. A denial is recorded in the audit log, as for a GetImage.
    pub(super) fn failed(
        &self,
        image: Option<&ImageId>,
        error: &Error,
        job: &ResolveJob,
    ) -> ResolveResult {
        if let (Some(audit), Outcome::Denied) = (self.audit(), error.outcome()) {
            let request_id = job.request_id.text();
            audit.record(&AccessRecord {
                client: job.principal.name(),
                peer: &job.peer,
                action: Action::Resolve,
                image,
                refused: None,
                response: response::failure(error, request_id.as_str(), "").summary(),
                request_id: request_id.as_str(),
            });
        }
        ResolveResult::from_error(error)
    }
}

/// Repeats an attempt that was only shed in favour of more urgent ones, or rate-limited, until the deadline.
///
/// # Errors
/// The last attempt's error; [`UpstreamError::Timeout`] for one that the deadline ended.
pub(super) async fn persist<T, F>(job: &ResolveJob, attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        if Instant::now() >= job.deadline {
            return Err(UpstreamError::Timeout.into());
        }
        let error = match timeout_at(job.deadline, attempt()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error,
            Err(_) => UpstreamError::Timeout.into(),
        };
        let wait = match &error {
            Error::Upstream(UpstreamError::CircuitOpen) => pause,
            Error::Upstream(UpstreamError::Overloaded(wait)) => (*wait).max(pause),
            Error::Upstream(UpstreamError::Throttled(throttle)) => {
                throttle.wait.unwrap_or_default().max(pause)
            }
            // Tokens come steadily, so the pause does not grow.
            Error::RateLimited(wait) => {
                pause = FIRST_PAUSE / 2;
                *wait
            }
            _ => return Err(error),
        };
        // Half of it by chance, so that those who were refused together do not come together.
        let wait = wait + pause.mul_f64(fastrand::f64());
        if Instant::now() + wait >= job.deadline {
            return Err(error);
        }
        sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
