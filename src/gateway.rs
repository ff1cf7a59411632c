//! The way of a request, from its head to its answer.
//!
//! ```text
//! classify → sign in → may it be asked? → GetImage:  look up → plan → (fetch) → authorize → image
//!                                         reads:     may it be searched? → ask the origin → answer
//!                                         writes:    ask for the image as it is now → ask the origin → invalidate → answer
//!                                         Resolve:   each image as a GetImage → one answer
//! ```
//!
//! A hit never waits, so it takes no permit, sets no timer and spawns nothing. This is where cache and
//! upstream meet; neither knows the other.

mod directives;
mod discard_body;
mod fetch;
mod ingest;
mod passthrough;
mod record;
mod render;
mod request_id;
mod resolve;
mod search;
mod tiered_fetch;
mod write_access;
mod write_nonce;

pub use resolve::Config as ResolveConfig;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use futures_util::FutureExt;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Request, Response, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::api::{Action, Call, ImageKey, Malformed, Operation, RouteError};
use crate::auth::{
    Authenticated, Authenticator, BodyProof, Hidden, Permission, Principal, Visible, WriteProof,
};
use crate::body::{Body, Budget};
use crate::cache::{Cache, freshness};
use crate::observability::access_log::AccessLog;
use crate::observability::audit::{AccessRecord, AuditWriter};
use crate::observability::metrics::{ClientMetrics, Metrics};
use crate::observability::outcome::Outcome;
use crate::observability::top_images::TopImages;
use crate::observability::traces::{SpanGuard, Trace, Traces};
use crate::peer::Peer;
use crate::response::{self, Answer, CacheStatus, Error};
use crate::server::{Service, Unauthenticated};
use crate::shared_cache::SharedCache;
use crate::units::{ByteSize, HumanDuration};
use crate::upstream::{Upstream, UpstreamError};
use directives::{RequestDirectives, ServeDecision};
use fetch::FetchReason;
use render::{Render, Single};
use request_id::RequestId;

/// The `[api]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Passes AddImage, AddImageLabels, RemoveImageLabels, PublishImage and RemoveImage on.
    pub writes: bool,
    /// Time that a request waits for a fetch. Node's SDK gives up after 3 s.
    pub wait: HumanDuration,
    /// Time that a request waits for a fetch where a stale image could answer it.
    pub wait_with_stale: HumanDuration,
    /// Longest body read from a client.
    pub max_body: ByteSize,
    /// Time for a client's whole body to arrive.
    pub body_timeout: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            writes: false,
            wait: HumanDuration::millis(2500),
            wait_with_stale: HumanDuration::secs(1),
            max_body: ByteSize(1 << 20),
            body_timeout: HumanDuration::secs(10),
        }
    }
}

/// Answers requests.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    resolve: ResolveConfig,
    not_found_code: CompactString,
    parts: GatewayParts,
    /// Requests of nobody in particular.
    anonymous: ClientMetrics,
    unauthenticated: ClientMetrics,
    /// Whether anything is written down of a request beside its count.
    records_access: bool,
    waiting: Arc<Semaphore>,
    /// For what goes on when the call that began it has returned.
    me: Weak<Self>,
}

/// What a gateway stands on.
#[derive(Debug)]
pub struct GatewayParts {
    /// Who asks.
    pub auth: Arc<Authenticator>,
    /// What is known.
    pub cache: Arc<Cache<UpstreamError>>,
    /// What the fleet knows, if it shares that.
    pub shared: Option<Arc<SharedCache>>,
    /// Calls to the origin.
    pub upstream: Arc<Upstream>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which images are asked for most.
    pub top_images: Arc<TopImages>,
    /// What is written down, if anything.
    pub audit: Option<Arc<AuditWriter>>,
    /// What is logged of each request, if anything.
    pub access: Option<AccessLog>,
    /// Where traces begin, if they do.
    pub traces: Option<Arc<Traces>>,
    /// Room for responses that clients have not taken.
    pub budget: Budget,
    /// Where writes run, so that a client that leaves leaves none half done.
    pub tasks: TaskTracker,
}

impl Gateway {
    /// Puts the parts together. At most `max_in_flight` requests wait at once for a fetch, the origin
    /// or a body; hits do not wait. An image that is not shown is called `not_found_code`.
    #[must_use]
    pub fn new(
        config: Config,
        resolve: ResolveConfig,
        not_found_code: &str,
        max_in_flight: u32,
        parts: GatewayParts,
    ) -> Arc<Self> {
        let [anonymous, unauthenticated] =
            ["anonymous", UNAUTHENTICATED].map(|name| parts.metrics.client(name));
        Arc::new_cyclic(|me| Self {
            config,
            resolve,
            not_found_code: not_found_code.into(),
            anonymous,
            unauthenticated,
            records_access: (parts.audit.is_some() && parts.auth.is_required())
                || parts.access.is_some()
                || parts.traces.is_some(),
            waiting: Arc::new(Semaphore::new(max_in_flight as usize)),
            me: Weak::clone(me),
            parts,
        })
    }

    /// Answers one request, whatever it is, and counts the answer.
    pub async fn handle<B>(&self, request: Request<B>, peer: &Peer) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin,
    {
        let at = Instant::now();
        let (mut head, mut body) = request.into_parts();
        let call = Call::classify(&head.method, head.uri.path(), head.uri.query());
        let action = call
            .as_ref()
            .map_or_else(RouteError::action, |call| call.operation.action());
        let noted = call.as_ref().ok().filter(|_| self.records_access);
        let image = noted.and_then(|call| call.operation.image().cloned());
        let id = RequestId::new();
        let signed_in = self
            .parts
            .auth
            .authenticate(&head, peer, action, Timestamp::now);
        let span = match &self.parts.traces {
            None => SpanGuard::none(),
            Some(traces) if signed_in.is_ok() => traces.continue_or_sample(&head.headers, at),
            Some(traces) => traces.sample(at),
        };
        let refused = signed_in.as_ref().err().map(|refused| refused.reason());
        let (principal, reply) = match signed_in {
            Ok(Authenticated {
                principal,
                body: proof,
                write,
                ..
            }) => {
                let context = RequestContext {
                    head: &head,
                    principal: &principal,
                    proof: &proof,
                    write: write.as_ref(),
                    at,
                    trace: &span,
                    id: &id,
                    peer,
                };
                let reply = AssertUnwindSafe(self.reply(call, &mut body, &context))
                    .catch_unwind()
                    .await;
                let reply = reply.unwrap_or_else(|_| {
                    panicked(&self.parts.metrics);
                    Err(Error::Internal)
                });
                (Some(principal), reply)
            }
            Err(refused) => (None, Err(refused.into())),
        };
        if reply.is_err() && !body.is_end_stream() {
            Box::pin(discard_body::discard(&mut body, &head)).await;
        }
        let reply = self.charge(reply, action);
        let answer =
            reply.unwrap_or_else(|error| response::failure(&error, id.as_str(), host_of(&head)));
        self.count(action, answer.outcome, principal.as_ref(), at);
        if self.records_access {
            let record = AccessRecord {
                client: principal.as_ref().map_or(UNAUTHENTICATED, Principal::name),
                action,
                peer,
                image: image.as_ref(),
                refused,
                response: answer.summary(),
                request_id: id.as_str(),
            };
            self.record(&record, &span, at.elapsed());
        }
        let mut response = answer.into_response(id.to_header(), std::mem::take(&mut head.headers));
        if principal.is_none() {
            response.extensions_mut().insert(Unauthenticated);
        }
        response
    }

    /// Charges a large response; without room for it a read is answered 429. A write has been done: its
    /// response is not withheld.
    fn charge(&self, reply: Result<Answer, Error>, action: Action) -> Result<Answer, Error> {
        let Ok(mut answer) = reply else { return reply };
        if let Some(length) = answer.body.uncharged() {
            match self.parts.budget.try_charge(length) {
                Some(charge) => answer.body.charge(charge),
                None if action.is_write() => {}
                None => return Err(Error::Overloaded),
            }
        }
        Ok(answer)
    }

    fn count(&self, action: Action, outcome: Outcome, principal: Option<&Principal>, at: Instant) {
        self.parts.metrics.answered(action, outcome, at.elapsed());
        let client = match principal {
            None => Some(&self.unauthenticated),
            Some(Principal::Anonymous) => Some(&self.anonymous),
            Some(Principal::Client(client)) => client.metrics(),
        };
        if let Some(client) = client {
            client.answered(outcome);
        }
        tracing::debug!(
            operation = action.as_str(),
            outcome = outcome.as_str(),
            client = principal.map(Principal::name),
            "answered"
        );
    }

    async fn reply<B>(
        &self,
        call: Result<Call, RouteError>,
        body: B,
        context: &RequestContext<'_>,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        context
            .principal
            .try_acquire_request()
            .map_err(Error::RateLimited)?;
        let call = call.map_err(Error::RouteError)?;
        self.permits(&call, context.principal)?;
        match &call.operation {
            Operation::GetImage(key) => {
                refuse_body(&body)?;
                self.parts.top_images.record(&key.image, context.at);
                let directives = RequestDirectives::parse(&context.head.headers, context.principal);
                let render = Single(context.head, context.id);
                self.get_image(key, directives, context.fetch_context(), &render)
                    .await
            }
            Operation::ListImages | Operation::ListImageLabels => {
                refuse_body(&body)?;
                Box::pin(self.read(call, context)).await
            }
            Operation::AddImage
            | Operation::AddImageLabels(_)
            | Operation::RemoveImageLabels(..)
            | Operation::PublishImage(_)
            | Operation::RemoveImage(_) => Box::pin(self.write(call, body, context)).await,
            Operation::Resolve => Box::pin(self.resolve(body, context)).await,
        }
    }

    /// What may be asked at all, before anything is looked at.
    fn permits(&self, call: &Call, principal: &Principal) -> Result<(), Error> {
        if call.operation.is_write() && !self.config.writes {
            Err(Error::WritesDisabled)
        } else if principal.may(Permission::of(&call.operation, &call.query)) {
            Ok(())
        } else {
            Err(Error::Forbidden(
                "this client was not granted this operation",
            ))
        }
    }

    /// Answers with an image, or not: what is held and may be seen, or else what is fetched.
    async fn get_image<M: Render>(
        &self,
        key: &ImageKey,
        directives: RequestDirectives,
        context: FetchContext<'_>,
        render: &M,
    ) -> Result<M::Output, Error> {
        let (now, principal) = (context.at, context.principal);
        let known = self.parts.cache.look_up(key, now);
        let plan = directives.decide(&known, now, |entry| principal.may_view(&entry.ownership));
        // A hit ends any circle. Whatever else comes in one is answered alike, so that nothing shows what is held.
        if !matches!(plan, ServeDecision::Hit(_)) {
            self.parts.upstream.propagation(context.headers)?;
        }
        match plan {
            ServeDecision::Hit(entry) => {
                let seen = principal
                    .authorize(entry)
                    .map_err(|Hidden| Error::Internal)?;
                let (held, fresh_for) = (entry.resident_time(now), entry.fresh_for());
                if freshness::refresh_early(held, fresh_for, entry.took(), fastrand::f64) {
                    self.revalidate(key, &known, context);
                }
                let age = entry.age(now);
                Ok(self.serve_held(render, seen, Outcome::Hit, CacheStatus::Hit, age))
            }
            ServeDecision::Stale(entry) => {
                let seen = principal
                    .authorize(entry)
                    .map_err(|Hidden| Error::Internal)?;
                self.revalidate(key, &known, context);
                Ok(self.serve_held(
                    render,
                    seen,
                    Outcome::Stale,
                    CacheStatus::Revalidating,
                    entry.age(now),
                ))
            }
            ServeDecision::Negative(no) if principal.is_anonymous() => {
                Ok(render.negative(no, Outcome::Negative, CacheStatus::Negative))
            }
            // As of an image that is held and may not be seen.
            ServeDecision::Negative(_) if directives.only_if_cached => Err(Error::NotCached),
            ServeDecision::Negative(no) => {
                let took = no.took;
                Err(Box::pin(self.deny(context, render, Outcome::Negative, took)).await)
            }
            ServeDecision::Deny(took) => {
                Err(Box::pin(self.deny(context, render, Outcome::Denied, took)).await)
            }
            ServeDecision::NotCached => Err(Error::NotCached),
            ServeDecision::Fetch => {
                let cause = if directives.is_for_newer() {
                    FetchReason::MissNoCache
                } else {
                    FetchReason::Miss
                };
                Box::pin(self.fetch(key, known, cause, context, render)).await
            }
            ServeDecision::Refresh => {
                Box::pin(self.fetch(key, known, FetchReason::Refresh, context, render)).await
            }
        }
    }

    fn serve_held<M: Render>(
        &self,
        render: &M,
        seen: Visible<'_>,
        outcome: Outcome,
        status: fn(i64) -> CacheStatus,
        age: Duration,
    ) -> M::Output {
        let entry = seen.entry();
        self.parts.metrics.cache_age.observe(age.as_secs_f64());
        render.image(seen, age, outcome, status(seconds_left(entry.ttl(), age)))
    }

    /// That there is no such image, for who may not be told more.
    fn unseen(&self, outcome: Outcome) -> Error {
        Error::ImageNotFound {
            outcome,
            code: self.not_found_code.clone(),
        }
    }

    fn acquire_slot(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.waiting.try_acquire().map_err(|_| Error::Overloaded)
    }
}

impl Service for Gateway {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        self.handle(request, peer).await
    }

    /// Counted and noted as any other answer, of a sender that is not asked for who it is.
    fn refuse(&self, mut head: Parts, why: Malformed, peer: &Peer) -> Response<Body> {
        let at = Instant::now();
        let id = RequestId::new();
        let call = Call::classify(&head.method, head.uri.path(), head.uri.query());
        let action = call.map_or_else(|bad| bad.action(), |call| call.operation.action());
        let sender = (!self.parts.auth.is_required()).then_some(Principal::Anonymous);
        let answer = response::failure(&why.into(), id.as_str(), host_of(&head));
        self.count(action, answer.outcome, sender.as_ref(), at);
        if self.records_access {
            let record = AccessRecord {
                client: sender.as_ref().map_or(UNAUTHENTICATED, Principal::name),
                action,
                peer,
                image: None,
                refused: None,
                response: answer.summary(),
                request_id: id.as_str(),
            };
            self.record(&record, &SpanGuard::none(), at.elapsed());
        }
        let mut response = answer.into_response(id.to_header(), std::mem::take(&mut head.headers));
        if sender.is_none() {
            response.extensions_mut().insert(Unauthenticated);
        }
        response
    }
}

/// The ttl less the age, both in whole seconds as `Age` is; below zero from the moment the ttl ends.
fn seconds_left(ttl: Duration, age: Duration) -> i64 {
    let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let left = whole(ttl) - whole(age);
    if age < ttl { left.max(0) } else { left.min(-1) }
}

/// A request's head, who sent it, and when it came.
struct RequestContext<'a> {
    head: &'a Parts,
    principal: &'a Principal,
    proof: &'a BodyProof,
    /// What makes a signed write the one that it is.
    write: Option<&'a WriteProof>,
    at: Instant,
    trace: &'a Trace,
    id: &'a RequestId,
    peer: &'a Peer,
}

/// Who asks for an image, and since when.
#[derive(Clone, Copy)]
struct FetchContext<'a> {
    principal: &'a Principal,
    at: Instant,
    trace: &'a Trace,
    /// Of the request; no more than its `Via` is looked at.
    headers: &'a HeaderMap,
}

impl<'a> RequestContext<'a> {
    const fn fetch_context(&self) -> FetchContext<'a> {
        FetchContext {
            principal: self.principal,
            at: self.at,
            trace: self.trace,
            headers: &self.head.headers,
        }
    }
}

fn panicked(metrics: &Metrics) {
    metrics.panics.inc();
}

/// The Host that the client named, for `HostId`.
fn host_of(head: &Parts) -> &str {
    let named = head
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    named
        .or_else(|| head.uri.authority().map(Authority::as_str))
        .unwrap_or("")
}

/// The name of who has not signed in.
const UNAUTHENTICATED: &str = "unauthenticated";

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn refuse_body<B: HttpBody>(body: &B) -> Result<(), Error> {
    if body.is_end_stream() {
        Ok(())
    } else {
        Err(Malformed::new("a GET or HEAD request has no body").into())
    }
}

#[cfg(test)]
mod tests;
