//! Responses to a request for a list, each after a check that the client may see the page.

use tokio::time::Instant;

use super::{Fetched, ListRequest};
use crate::api::Operation;
use crate::cache::Freshness;
use crate::cache::lists::{ListAnswer, ListLookup, ListPage};
use crate::gateway::get_image::seconds_left;
use crate::gateway::search;
use crate::observability::outcome::Outcome;
use crate::response::{self, Answer, CacheStatus, Error};
use crate::upstream::UpstreamError;

impl ListRequest<'_> {
    /// Answers with a page that a fetch brought, or with the origin's denial. An authenticated client gets for
    /// a denied image the same 404 as for any other hidden image.
    pub(super) fn deliver(&self, (answer, outcome, status): Fetched) -> Result<Answer, Error> {
        match answer {
            ListAnswer::Page(page) => {
                self.check(&page)?;
                let status = match status {
                    CacheStatus::Stored | CacheStatus::Forced if !page.storable => {
                        CacheStatus::Bypass
                    }
                    status => status,
                };
                let upstream_status = CacheStatus::of_upstream(page.upstream);
                let answer = response::list(&page, page.age(Instant::now()), outcome, status);
                Ok(Answer {
                    upstream_status,
                    ..answer
                })
            }
            ListAnswer::Denied(_)
                if self.is_about_image && !self.context.principal.is_anonymous() =>
            {
                Err(self.gateway.unseen(outcome))
            }
            ListAnswer::Denied(error) => Err(Error::Origin(error)),
        }
    }

    /// Serves a page from memory in place of the error, if there still is one that the client may see.
    pub(super) fn stand_in(
        &self,
        stale: fn(i64) -> CacheStatus,
        error: Error,
    ) -> Result<Answer, Error> {
        let now = Instant::now();
        let ListLookup::Page(page, freshness) =
            self.gateway.parts.cache.look_up_list(&self.key, now)
        else {
            return Err(error);
        };
        let served = if freshness == Freshness::Fresh {
            self.serve(&page, Outcome::Hit, CacheStatus::Hit, now)
        } else {
            self.serve(&page, Outcome::Stale, stale, now)
        };
        served.map_err(|_| error)
    }

    /// Serves a page from memory.
    pub(super) fn serve(
        &self,
        page: &ListPage,
        outcome: Outcome,
        status: fn(i64) -> CacheStatus,
        now: Instant,
    ) -> Result<Answer, UpstreamError> {
        self.check(page)?;
        let age = page.age(now);
        let status = status(seconds_left(page.ttl, age));
        Ok(response::list(page, age, outcome, status))
    }

    /// Checks that the client may view each image of the page.
    pub(super) fn check(&self, page: &ListPage) -> Result<(), UpstreamError> {
        match (&self.call.operation, self.context.principal.grant()) {
            (Operation::ListImages, Some(grant)) => search::check(&page.body, grant),
            _ => Ok(()),
        }
    }
}
