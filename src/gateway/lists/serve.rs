//! Responses to a request for a list, each after a check that the client may see the page.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Fetched, Judge, ListRequest};
use crate::api::Operation;
use crate::cache::Freshness;
use crate::cache::lists::{ListAnswer, ListLookup, ListPage};
use crate::gateway::get_image::seconds_left;
use crate::gateway::search;
use crate::observability::outcome::Outcome;
use crate::response::{self, Answer, CacheStatus, Error};
use crate::upstream::UpstreamError;

/// A page for a request, and how it came by it.
pub(in crate::gateway) struct ServedList {
    pub(in crate::gateway) page: Arc<ListPage>,
    pub(in crate::gateway) age: Duration,
    outcome: Outcome,
    status: CacheStatus,
    upstream_status: Option<CacheStatus>,
}

impl ServedList {
    /// Returns the response with the page as it came.
    pub(super) fn into_answer(self) -> Answer {
        Answer {
            upstream_status: self.upstream_status,
            ..response::list(&self.page, self.age, self.outcome, self.status)
        }
    }
}

impl ListRequest<'_> {
    /// Answers with a page that a fetch brought, or with the origin's denial. An authenticated client gets for
    /// a denied image the same 404 as for any other hidden image.
    pub(super) fn deliver(&self, (answer, outcome, status): Fetched) -> Result<ServedList, Error> {
        match answer {
            ListAnswer::Page(page) => {
                self.check(&page)?;
                let status = match status {
                    CacheStatus::Stored | CacheStatus::Forced if !page.storable => {
                        CacheStatus::Bypass
                    }
                    status => status,
                };
                Ok(ServedList {
                    age: page.age(Instant::now()),
                    upstream_status: CacheStatus::of_upstream(page.upstream()),
                    page,
                    outcome,
                    status,
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
    ) -> Result<ServedList, Error> {
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
        page: &Arc<ListPage>,
        outcome: Outcome,
        status: fn(i64) -> CacheStatus,
        now: Instant,
    ) -> Result<ServedList, UpstreamError> {
        self.check(page)?;
        let age = page.age(now);
        Ok(ServedList {
            page: Arc::clone(page),
            age,
            outcome,
            status: status(seconds_left(page.ttl, age)),
            upstream_status: None,
        })
    }

    /// Checks that the client may view each image of the page.
    pub(super) fn check(&self, page: &ListPage) -> Result<(), UpstreamError> {
        match (&self.call.operation, self.context.principal.grant()) {
            _ if self.judge == Judge::Caller => Ok(()),
            (Operation::ListImages, Some(grant)) => search::check(&page.body, grant),
            _ => Ok(()),
        }
    }
}
