//! ListImages and ListImageLabels: from memory, or by a fetch that clients with the same query share.
//!
//! Each request is authorized twice, whoever caused the fetch: before anything is looked up, by its query
//! alone (see [`search`]), and on the page that it gets. What is shared is the origin's page, never a
//! response.

mod decision;
mod serve;

pub(super) use self::serve::ServedList;

use std::sync::Arc;

use bytes::Bytes;
use http::header;
use tokio::time::Instant;

use self::decision::{ListDecision, decide};
use super::context::{FetchContext, FetchTerms, RequestContext};
use super::directives::{FetchReason, RequestDirectives};
use super::fetch::{FETCH, NotFetched, landed};
use super::render::NoOutput;
use super::{Gateway, search};
use crate::api::{Call, ImageId, ImageKey, Operation};
use crate::cache::Fetch;
use crate::cache::flight::FlightHandle;
use crate::cache::freshness::Directives;
use crate::cache::lists::{FetchedPage, ListAnswer, ListFetch, ListKey, ListLookup, ListPage};
use crate::observability::outcome::Outcome;
use crate::observability::traces::SpanGuard;
use crate::response::{Answer, CacheStatus, Error, X_ACS_REQUEST_ID};
use crate::upstream::priority::Priority;
use crate::upstream::{AnswerKind, OriginAnswer, Patience, Propagation, UpstreamError};

/// One request for a list.
struct ListRequest<'a> {
    gateway: &'a Gateway,
    context: FetchContext<'a>,
    /// The call as it is sent upstream.
    call: Call,
    key: ListKey,
    /// The list is of one image's labels.
    is_about_image: bool,
    judge: Judge,
    directives: RequestDirectives,
}

/// Authorization of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judge {
    /// The query was authorized, so an image on the page that the client may not see makes the page invalid.
    Query,
    /// The caller leaves out the images that the client may not see.
    Caller,
}

/// Time that a request waits for a fetch, and the time by which the call must be promised an answer.
#[derive(Clone, Copy)]
struct Wait {
    deadline: Instant,
    patience: Patience,
}

/// An answer that a fetch brought, and how this request came by it.
type Fetched = (ListAnswer, Outcome, CacheStatus);

impl Gateway {
    /// Answers with a list, restricted to the images that the client may view. A fetch costs one miss.
    pub(super) async fn list(
        &self,
        mut call: Call,
        context: &RequestContext<'_>,
    ) -> Result<Answer, Error> {
        let directives = RequestDirectives::parse(&context.head.headers, context.principal);
        let image = labelled_image(&call)?;
        if let Some(grant) = context.principal.grant() {
            match (&image, &call.operation) {
                (Some(image), _) => self.authorize_view(image, directives, context).await?,
                (None, Operation::ListImages) => call.query = search::admit(grant, call.query)?,
                (None, _) => search::admit_labels(grant, &call.query)?,
            }
        }
        let terms = FetchTerms::single();
        let request = ListRequest {
            gateway: self,
            context: context.fetch_context(&terms),
            key: ListKey::of(&call),
            call,
            is_about_image: image.is_some(),
            judge: Judge::Query,
            directives,
        };
        Ok(request.answer().await?.into_answer())
    }

    /// Returns a page of a search that the client did not send itself. The caller must authorize each image of it.
    pub(super) async fn search_page(
        &self,
        call: Call,
        context: FetchContext<'_>,
    ) -> Result<ServedList, Error> {
        let request = ListRequest {
            gateway: self,
            context,
            key: ListKey::of(&call),
            call,
            is_about_image: false,
            judge: Judge::Caller,
            directives: RequestDirectives::default(),
        };
        request.answer().await
    }

    /// Checks that the client may view an image, as a GetImage would, and fetches it if need be.
    async fn authorize_view(
        &self,
        image: &ImageId,
        directives: RequestDirectives,
        context: &RequestContext<'_>,
    ) -> Result<(), Error> {
        let key = ImageKey {
            image: image.clone(),
            verbose: false,
        };
        let terms = FetchTerms::single();
        let fetch_context = context.fetch_context(&terms);
        let directives = directives.of_any_age();
        self.get_image(&key, directives, fetch_context, &NoOutput)
            .await
    }
}

impl ListRequest<'_> {
    async fn answer(&self) -> Result<ServedList, Error> {
        let (parts, now) = (&self.gateway.parts, Instant::now());
        let lookup = parts.cache.look_up_list(&self.key, now);
        let decision = decide(self.directives, &lookup, now);
        // As with an image, a hit ends a forwarding loop, and nothing else does.
        if let ListDecision::Hit(page) = decision {
            return Ok(self.serve(page, Outcome::Hit, CacheStatus::Hit, now)?);
        }
        let propagation = parts
            .upstream
            .propagation(self.context.headers)?
            .by(self.context.principal.name());
        match decision {
            ListDecision::Hit(_) | ListDecision::NotCached => Err(Error::NotCached),
            ListDecision::Stale(page) => {
                if page.begin_refresh(now) {
                    self.revalidate(&lookup, propagation);
                }
                Ok(self.serve(page, Outcome::Stale, CacheStatus::Revalidating, now)?)
            }
            ListDecision::Fetch(reason) => self.fetch(&lookup, reason, propagation).await,
        }
    }

    /// Fetches the list, or waits for the flight that does. A stale page stands in for an origin that fails
    /// or is slow.
    async fn fetch(
        &self,
        lookup: &ListLookup,
        reason: FetchReason,
        propagation: Propagation,
    ) -> Result<ServedList, Error> {
        let _slot = self.context.terms.slot.acquire(self.gateway)?;
        let propagation = Propagation {
            no_cache: reason.bypasses_parent(),
            ..propagation
        };
        let wait = self.wait(lookup);
        let run = || self.run(lookup, reason, &propagation, wait);
        let mut result = run().await;
        // As with an image: what was refused for its leader's sake may not be refused to this request.
        if let Err(NotFetched::LeaderRefused(_)) = result {
            result = run().await;
        }
        match result {
            Ok(fetched) => self.deliver(fetched),
            Err(NotFetched::RateLimited(wait)) => {
                self.stand_in(CacheStatus::OverBudget, Error::RateLimited(wait))
            }
            Err(NotFetched::Failed(error) | NotFetched::LeaderRefused(error)) => {
                if error.permits_stale() {
                    self.stand_in(CacheStatus::OriginError, error.into())
                } else {
                    Err(error.into())
                }
            }
            Err(NotFetched::Aborted(error)) => Err(self.gateway.aborted(error)),
        }
    }

    /// Joins or starts the flight and waits for its result.
    async fn run(
        &self,
        lookup: &ListLookup,
        reason: FetchReason,
        propagation: &Propagation,
        wait: Wait,
    ) -> Result<Fetched, NotFetched> {
        let (parts, principal) = (&self.gateway.parts, self.context.principal);
        let terms = self.context.terms;
        let admit = || terms.charge.pay(principal);
        let priority = reason.priority().min(terms.max_priority);
        let start = |flight| {
            let span = self.context.trace.span(FETCH);
            self.call(flight, propagation.clone(), wait.patience, span)
        };
        let cache = &parts.cache;
        let fetch = cache.fetch_list(&self.key, lookup, priority, admit, start);
        let coalesced = (Outcome::Coalesced, CacheStatus::Collapsed);
        let (waiter, (outcome, status)) = match fetch {
            ListFetch::Started(waiter) => (waiter, reason.outcome()),
            Fetch::Joined(waiter) => (waiter, coalesced),
            Fetch::AlreadyCached(answer) => return Ok((answer, coalesced.0, coalesced.1)),
            Fetch::RateLimited(wait) => return Err(NotFetched::RateLimited(wait)),
        };
        let result = waiter.wait_until(|_| wait.deadline).await;
        let still_queued = || {
            let upstream = &parts.upstream;
            upstream.still_queued(&self.call, principal.name(), priority)
        };
        let answer = landed(result, outcome, still_queued)?;
        Ok((answer, outcome, status))
    }

    /// Returns the wait of this request, which is shorter where a stale page could be served instead; the call then
    /// stays in the queue.
    fn wait(&self, lookup: &ListLookup) -> Wait {
        let (config, now) = (&self.gateway.config, Instant::now());
        match lookup {
            ListLookup::Page(page, _) if self.check(page).is_ok() => Wait {
                deadline: now + config.wait_with_stale.0,
                patience: Patience::Fetch(None),
            },
            ListLookup::Page(..) | ListLookup::Miss => {
                let deadline = self.context.terms.deadline;
                let deadline = deadline.unwrap_or(now + config.wait.0);
                Wait {
                    deadline,
                    patience: Patience::Fetch(Some(deadline)),
                }
            }
        }
    }

    /// Starts a fetch that nobody waits for.
    fn revalidate(&self, lookup: &ListLookup, propagation: Propagation) {
        let start = |flight| {
            let span = self.context.trace.linked_root(FETCH);
            self.call(flight, propagation, Patience::Fetch(None), span)
        };
        let (cache, priority) = (&self.gateway.parts.cache, Priority::Background);
        drop(cache.fetch_list(&self.key, lookup, priority, || Ok(()), start));
    }

    /// Returns the fetch of a flight, which outlives this request.
    fn call(
        &self,
        flight: FlightHandle,
        propagation: Propagation,
        patience: Patience,
        span: SpanGuard,
    ) -> impl Future<Output = Result<ListAnswer, UpstreamError>> + Send + use<> {
        span.set("operation", || self.key.action.as_str());
        let (parts, call) = (&self.gateway.parts, self.call.clone());
        let (upstream, cache) = (Arc::clone(&parts.upstream), Arc::clone(&parts.cache));
        let metrics = Arc::clone(&parts.metrics);
        async move {
            let urgency = (&flight.priority, patience);
            let sent = upstream.send(&call, Bytes::new(), urgency, &propagation, &span);
            let answer = sent
                .await
                .inspect_err(|_| span.fail("nothing was fetched"))?;
            let policy = cache.policy();
            Ok(match ingest(answer) {
                Err(denied) => denied,
                Ok(page) => {
                    if policy.ignores(page.directives) {
                        metrics.origin_directives_ignored.inc();
                    }
                    let page = ListPage::new(page, cache.list_config(), &policy);
                    ListAnswer::Page(Arc::new(page))
                }
            })
        }
    }
}

/// Converts an answer to a list for the cache.
///
/// # Errors
/// The origin's denial.
fn ingest(answer: OriginAnswer) -> Result<FetchedPage, ListAnswer> {
    let OriginAnswer {
        kind,
        reply,
        sent,
        took,
        freshness,
        ..
    } = answer;
    match kind {
        AnswerKind::NotFound(error) | AnswerKind::Forbidden(error) => {
            return Err(ListAnswer::Denied(error));
        }
        AnswerKind::Success(_) => {}
    }
    Ok(FetchedPage {
        request_id: reply.headers.get(X_ACS_REQUEST_ID).cloned(),
        directives: Directives::parse(&reply.list(header::CACHE_CONTROL.as_str())),
        body: reply.body,
        sent,
        took,
        upstream: freshness,
    })
}

/// Returns the image whose labels a request lists; `None` for a search over labels.
fn labelled_image(call: &Call) -> Result<Option<ImageId>, Error> {
    if call.operation != Operation::ListImageLabels {
        return Ok(None);
    }
    let image = call.query.value("ImageId").map(ImageId::parse);
    Ok(image.transpose()?)
}
