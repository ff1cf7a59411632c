//! The way of a request, from its head to its answer.
//!
//! ```text
//! classify → may it be asked? → read the body → GetImage:  look up → plan → (fetch) → image
//!                                               reads:     ask the origin → answer
//!                                               writes:    ask the origin → invalidate → answer
//! ```
//!
//! A hit never waits, so it takes no permit, sets no timer and spawns nothing. This is where cache and
//! upstream meet; neither knows the other.

mod demand;
mod fetch;
mod landing;
mod pass;
mod request_id;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::uri::Authority;
use http::{Request, Response, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::api::{Call, ImageKey, Malformed, Misrouted, Operation};
use crate::cache::{Cache, Entry, freshness};
use crate::metrics::Metrics;
use crate::outcome::Outcome;
use crate::peer::Peer;
use crate::response::{self, Answer, Body, CacheStatus, Error, X_PAI_GATEWAY_REQUEST_ID};
use crate::server::Service;
use crate::units::{ByteSize, Span};
use crate::upstream::{Upstream, UpstreamError};
use demand::{Demand, Plan};
use fetch::Cause;
use request_id::RequestId;

/// The `[api]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether AddImage, AddImageLabels, RemoveImageLabels, PublishImage and RemoveImage are passed on.
    pub writes: bool,
    /// How long a request waits for a fetch. Node's SDK gives up after 3 s.
    pub wait: Span,
    /// How long it waits when it could be answered with a stale image instead.
    pub wait_with_stale: Span,
    /// Longest body read from a client.
    pub max_body: ByteSize,
    /// Time for a client's body to come.
    pub body_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            writes: false,
            wait: Span::millis(2500),
            wait_with_stale: Span::secs(1),
            max_body: ByteSize(1 << 20),
            body_timeout: Span::secs(10),
        }
    }
}

/// Answers requests.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    cache: Arc<Cache<UpstreamError>>,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    waiting: Semaphore,
}

impl Gateway {
    /// Puts the parts together. At most `max_in_flight` requests wait at once for a fetch, the origin
    /// or a body; hits do not wait. Writes run as tasks of `tasks`, so that a client that leaves leaves
    /// none half done.
    #[must_use]
    pub fn new(
        config: Config,
        cache: Arc<Cache<UpstreamError>>,
        upstream: Arc<Upstream>,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
        max_in_flight: u32,
    ) -> Self {
        let waiting = Semaphore::new(max_in_flight as usize);
        Self {
            config,
            cache,
            upstream,
            metrics,
            tasks,
            waiting,
        }
    }

    /// Answers one request, whatever it is, and counts the answer.
    pub async fn handle<B>(&self, request: Request<B>, peer: &Peer) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let (head, body) = request.into_parts();
        let asked = Asked {
            head: &head,
            peer,
            at: Instant::now(),
        };
        let call = Call::classify(&head.method, head.uri.path(), head.uri.query());
        let action = call
            .as_ref()
            .map_or_else(Misrouted::action, |call| call.operation.action());
        let id = RequestId::new();
        let reply = AssertUnwindSafe(self.reply(call, body, &asked))
            .catch_unwind()
            .await;
        let reply = reply.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Err(Error::Internal)
        });
        let Answer {
            mut response,
            outcome,
        } = reply.unwrap_or_else(|error| response::failure(&error, id.as_str(), asked.host()));
        response
            .headers_mut()
            .insert(X_PAI_GATEWAY_REQUEST_ID, id.to_header());
        self.metrics.answered(action, outcome, asked.at.elapsed());
        tracing::debug!(
            operation = action.as_str(),
            outcome = outcome.as_str(),
            status = response.status().as_u16(),
            request.id = id.as_str(),
            "answered"
        );
        response
    }

    async fn reply<B>(
        &self,
        call: Result<Call, Misrouted>,
        body: B,
        asked: &Asked<'_>,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let call = call.map_err(Error::Misrouted)?;
        self.permits(&call.operation)?;
        match &call.operation {
            Operation::GetImage(key) => {
                refuse_body(&body)?;
                self.get_image(key, asked).await
            }
            Operation::ListImages | Operation::ListImageLabels => {
                refuse_body(&body)?;
                Box::pin(self.read(call)).await
            }
            Operation::AddImage
            | Operation::AddImageLabels(_)
            | Operation::RemoveImageLabels(..)
            | Operation::PublishImage(_)
            | Operation::RemoveImage(_) => Box::pin(self.write(call, body)).await,
        }
    }

    /// What may be asked at all.
    fn permits(&self, operation: &Operation) -> Result<(), Error> {
        if operation.is_write() && !self.config.writes {
            Err(Error::WritesOff)
        } else {
            Ok(())
        }
    }

    async fn get_image(&self, key: &ImageKey, asked: &Asked<'_>) -> Result<Answer, Error> {
        let now = asked.at;
        let known = self.cache.look_up(key, now);
        match Demand::of(&asked.head.headers).plan(&known, now) {
            Plan::Hit(entry) => {
                if freshness::refresh_early(entry.age(now), entry.ttl, entry.took, fastrand::f64) {
                    self.revalidate(key, &known);
                }
                Ok(self.serve_held(&entry, Outcome::Hit, CacheStatus::Hit, now))
            }
            Plan::Stale(entry) => {
                self.revalidate(key, &known);
                Ok(self.serve_held(&entry, Outcome::Stale, CacheStatus::Revalidating, now))
            }
            Plan::Negative(no) => Ok(response::negative(
                &no,
                asked.host(),
                Outcome::Negative,
                CacheStatus::Negative,
            )),
            Plan::NotCached => Err(Error::NotCached),
            Plan::Fetch => Box::pin(self.fetch(key, known, Cause::Miss, asked)).await,
            Plan::Refresh => Box::pin(self.fetch(key, known, Cause::Demand, asked)).await,
        }
    }

    fn serve_held(
        &self,
        entry: &Entry,
        outcome: Outcome,
        status: fn(i64) -> CacheStatus,
        now: Instant,
    ) -> Answer {
        let age = entry.age(now);
        self.metrics.cache_age.observe(age.as_secs_f64());
        response::image(entry, age, outcome, status(seconds_left(entry.ttl, age)))
    }

    fn wait_in_line(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.waiting.try_acquire().map_err(|_| Error::Overloaded)
    }
}

impl Service for Gateway {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        self.handle(request, peer).await
    }
}

/// The ttl less the age, both in whole seconds as `Age` is; below zero from the moment the ttl ends.
fn seconds_left(ttl: Duration, age: Duration) -> i64 {
    let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let left = whole(ttl) - whole(age);
    if age < ttl { left.max(0) } else { left.min(-1) }
}

/// A request's head, where from and when it came.
struct Asked<'a> {
    head: &'a Parts,
    #[expect(dead_code, reason = "whom authentication will ask")]
    peer: &'a Peer,
    at: Instant,
}

impl Asked<'_> {
    /// The Host that the client asked, for `HostId`.
    fn host(&self) -> &str {
        let named = self
            .head
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        named
            .or_else(|| self.head.uri.authority().map(Authority::as_str))
            .unwrap_or("")
    }
}

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn refuse_body<B: HttpBody>(body: &B) -> Result<(), Error> {
    if body.is_end_stream() {
        Ok(())
    } else {
        Err(Malformed::new("a GET request has no body").into())
    }
}

#[cfg(test)]
mod tests;
