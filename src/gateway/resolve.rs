//! Resolve: many images in one request, each looked up and fetched as by a GetImage.
//!
//! ```text
//! read the body → check its signature → cached images first
//!                                     → fetches, `concurrency` at a time, until the deadline
//! ```
//!
//! An image is named by its id, and looked up as by a GetImage ([`item`]), or by its URI, and searched by ListImages
//! ([`by_uri`]). A fetch belongs to no request: if the client disconnects or the deadline passes, it still fills the cache.

mod by_uri;
mod item;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderMap, header};
use http_body::Body as HttpBody;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::context::{FetchContext, FetchTerms, RequestContext};
use super::directives::{RequestDirectives, ServeDecision};
use super::request_id::RequestId;
use super::{BoxError, Gateway};
use crate::api::{ResolveItem, ResolveRequest};
use crate::auth::Principal;
use crate::body::{Body, LineWriter, NDJSON, line_stream};
use crate::observability::outcome::Outcome;
use crate::observability::traces::Trace;
use crate::peer::Peer;
use crate::response::{self, Answer, Error, ResolveCounts, ResolvedItem};
use crate::units::{ByteSize, HumanDuration};

/// The `[resolve]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Number of ids and URIs that one request may name.
    pub max_ids: u32,
    /// Number of images that one request waits for at once.
    pub concurrency: u32,
    /// Time after which an image that has not arrived counts as failed.
    pub deadline: HumanDuration,
    /// Bytes of the longest answer.
    pub max_answer: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_ids: 1000,
            concurrency: 32,
            deadline: HumanDuration::secs(30),
            max_answer: ByteSize(64 << 20),
        }
    }
}

/// A parsed Resolve, with all that its images need; it outlives the request's head and body.
struct ResolveJob {
    wanted: ResolveRequest,
    principal: Principal,
    trace: Trace,
    /// The request's `Via`, which every fetch passes on to a parent gateway.
    via: HeaderMap,
    request_id: RequestId,
    peer: Peer,
    deadline: Instant,
}

/// The order in which the images of a Resolve are handled, and the outcome of the whole request.
struct ResolveOrder {
    places: Vec<usize>,
    outcome: Outcome,
}

/// Source of an image's result, as far as the cache shows before anything is fetched.
enum ResultSource {
    /// Memory alone.
    Memory,
    /// Memory, after the time of a fetch.
    Denial,
    /// A fetch.
    Fetch,
}

/// The results of a Resolve's images, in the order in which they become known.
struct ResolvedImages<'a> {
    gateway: &'a Gateway,
    request: &'a ResolveJob,
    next: std::vec::IntoIter<usize>,
    in_progress: FuturesUnordered<ResolveFuture<'a>>,
    room: usize,
}

/// A future of one image's result, with the image's index in the request.
type ResolveFuture<'a> = Pin<Box<dyn Future<Output = (usize, ResolvedItem)> + Send + 'a>>;

/// Bytes by which the charge for a growing response is raised.
const CHARGE_STEP: usize = 4 << 10;
/// Time that a client may take to read one line of the response.
const LINE_TIMEOUT: Duration = Duration::from_secs(30);

impl Gateway {
    /// Answers with the result of each image: as lines if the client accepts NDJSON, else as one document.
    pub(super) async fn resolve<B>(
        &self,
        body: B,
        context: &RequestContext<'_>,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let waiting = self.slots.clone().try_acquire_owned();
        let waiting = waiting.map_err(|_| Error::Overloaded)?;
        let body = self.collect(body).await?;
        context.proof.check(&body)?;
        let request = ResolveJob {
            wanted: ResolveRequest::parse(&body, self.resolve.max_ids as usize)?,
            principal: context.principal.clone(),
            trace: context.trace.clone(),
            via: via(&context.head.headers),
            request_id: context.exchange.id,
            peer: context.exchange.peer.clone(),
            deadline: Instant::now() + self.resolve.deadline.0,
        };
        let order = self.order_images(&request);
        if takes_lines(&context.head.headers) {
            self.respond_lines(request, order, waiting)
        } else {
            self.respond_whole(&request, order).await
        }
    }

    /// Collects all results. The response is charged while it grows, so that many of them at once stay within
    /// the budget before the first is sent.
    async fn respond_whole(
        &self,
        request: &ResolveJob,
        ResolveOrder { places, outcome }: ResolveOrder,
    ) -> Result<Answer, Error> {
        let budget = &self.parts.budget;
        let mut charge = budget.try_charge(0).ok_or(Error::Overloaded)?;
        let (mut results, mut bytes) = (ResolvedImages::new(self, request, places), 0_usize);
        let mut known = Vec::with_capacity(request.wanted.items().len());
        while let Some(result) = results.next().await {
            let item = request.wanted.items().get(result.0);
            bytes += item.map_or(0, |item| result.1.max_len(item));
            if !charge.grow_to(bytes.next_multiple_of(CHARGE_STEP), budget) {
                return Err(Error::Overloaded);
            }
            known.push(result);
        }
        known.sort_unstable_by_key(|(place, _)| *place);
        let items = request.wanted.items().iter();
        let known = items.zip(known.into_iter().map(|(_, resolved)| resolved));
        let known: Vec<_> = known.collect();
        let id = request.request_id.text();
        let whole = ResolvedItem::document(id.as_str(), &known, Instant::now());
        let body = Body::charged(whole, charge);
        Ok(response::resolved(body, outcome))
    }

    /// Starts a response of lines, which a task completes; the task keeps the request's slot.
    fn respond_lines(
        &self,
        request: ResolveJob,
        ResolveOrder { places, outcome }: ResolveOrder,
        waiting: OwnedSemaphorePermit,
    ) -> Result<Answer, Error> {
        let gateway = self.me.upgrade().ok_or(Error::Internal)?;
        let (writer, lines) = line_stream();
        self.parts.tasks.spawn(async move {
            let _waiting = waiting;
            let written = gateway.write_lines(&request, places, writer);
            let written = std::panic::AssertUnwindSafe(written).catch_unwind();
            match written.await {
                Ok(Some(())) => {}
                Ok(None) => tracing::debug!("a client left in the middle of a Resolve"),
                Err(_) => gateway.parts.metrics.panics.inc(),
            }
        });
        Ok(response::resolved(Body::Lines(lines), outcome))
    }

    /// Writes a line for each image and a last one with the counts; `None` if the client stops reading.
    async fn write_lines(
        &self,
        request: &ResolveJob,
        places: Vec<usize>,
        to: LineWriter,
    ) -> Option<()> {
        let mut results = ResolvedImages::new(self, request, places);
        let mut tally = ResolveCounts::default();
        loop {
            let result = tokio::select! {
                biased;
                result = results.next() => result,
                () = to.closed() => return None,
            };
            let Some((place, resolved)) = result else {
                break;
            };
            tally.count(&resolved.result);
            let item = request.wanted.items().get(place)?;
            let line = resolved.line(item, Instant::now());
            let charge = self.parts.budget.charge(line.len());
            let line = timeout(LINE_TIMEOUT, charge).await.ok()??.attach(line);
            timeout(LINE_TIMEOUT, to.write(line)).await.ok()?.ok()?;
        }
        let last = to.finish(tally.line(request.request_id.text().as_str()));
        timeout(LINE_TIMEOUT, last).await.ok()?.ok()
    }

    /// Orders the images: those that can be served from memory first. A hidden image is not among them, for
    /// denying it takes the time of its fetch.
    fn order_images(&self, request: &ResolveJob) -> ResolveOrder {
        let now = Instant::now();
        let (mut places, mut later) = (Vec::new(), Vec::new());
        let mut outcome = Outcome::Hit;
        for (place, item) in request.wanted.items().iter().enumerate() {
            match self.source(item, &request.principal, now) {
                ResultSource::Memory => places.push(place),
                ResultSource::Denial => later.push(place),
                ResultSource::Fetch => {
                    outcome = Outcome::Miss;
                    later.push(place);
                }
            }
        }
        places.append(&mut later);
        ResolveOrder { places, outcome }
    }

    fn source(&self, item: &ResolveItem, principal: &Principal, now: Instant) -> ResultSource {
        let key = match item {
            ResolveItem::Id(key) => key,
            ResolveItem::Uri(uri) if self.holds_search(uri, principal, now) => {
                return ResultSource::Memory;
            }
            ResolveItem::Uri(_) => return ResultSource::Fetch,
        };
        let known = self.parts.cache.look_up(key, now);
        let sees = |entry: &crate::cache::Entry| principal.may_view(&entry.ownership);
        match RequestDirectives::default().decide(&known, now, sees) {
            ServeDecision::Hit(_) | ServeDecision::Stale(_) => ResultSource::Memory,
            ServeDecision::Negative(_) if principal.is_anonymous() => ResultSource::Memory,
            ServeDecision::Negative(_) | ServeDecision::Deny(_) => ResultSource::Denial,
            ServeDecision::Fetch(_) | ServeDecision::NotCached => ResultSource::Fetch,
        }
    }
}

impl ResolveJob {
    fn fetch_context<'a>(&'a self, terms: &'a FetchTerms) -> FetchContext<'a> {
        FetchContext {
            terms,
            principal: &self.principal,
            at: Instant::now(),
            trace: &self.trace,
            headers: &self.via,
        }
    }
}

impl<'a> ResolvedImages<'a> {
    fn new(gateway: &'a Gateway, request: &'a ResolveJob, places: Vec<usize>) -> Self {
        let room = ResolvedItem::capacity(request.wanted.items(), gateway.resolve.max_answer.0);
        Self {
            gateway,
            request,
            next: places.into_iter(),
            in_progress: FuturesUnordered::new(),
            room,
        }
    }

    /// Returns the next result and its image's index in the request. Cancel-safe.
    async fn next(&mut self) -> Option<(usize, ResolvedItem)> {
        while self.in_progress.len() < self.gateway.resolve.concurrency as usize
            && let Some(place) = self.next.next()
        {
            let (gateway, request) = (self.gateway, self.request);
            let item = request.wanted.items().get(place)?;
            self.in_progress.push(Box::pin(async move {
                (place, gateway.resolve_item(item, request).await)
            }));
        }
        let (place, resolved) = self.in_progress.next().await?;
        Some((place, resolved.fit_into(&mut self.room)))
    }
}

fn via(headers: &HeaderMap) -> HeaderMap {
    let values = headers.get_all(header::VIA).into_iter();
    values.map(|value| (header::VIA, value.clone())).collect()
}

fn takes_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|part| part.split(';').next())
        .any(|media| media.trim().eq_ignore_ascii_case(NDJSON))
}
