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
mod landing;
mod request_id;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::api::{Call, ImageKey, Malformed, Misrouted, Operation};
use crate::cache::{Cache, Entry, Fetch, Fetched, Known, Landed, freshness};
use crate::metrics::Metrics;
use crate::outcome::Outcome;
use crate::response::{self, Answer, Body, CacheStatus, Error, X_PAI_GATEWAY_REQUEST_ID};
use crate::server::Service;
use crate::units::{ByteSize, Span};
use crate::upstream::{Upstream, UpstreamError};
use demand::{Demand, Plan};
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
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let call = Call::classify(&head.method, head.uri.path(), head.uri.query());
        let action = call
            .as_ref()
            .map_or_else(Misrouted::action, |call| call.operation.action());
        let id = RequestId::new();
        let host = || host(&head.headers, &head.uri);
        let answer = AssertUnwindSafe(self.reply(call, &head.headers, body, &host, started))
            .catch_unwind()
            .await;
        let answer = answer.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Err(Error::Internal)
        });
        let mut answer =
            answer.unwrap_or_else(|error| response::failure(&error, id.as_str(), host()));
        answer
            .response
            .headers_mut()
            .insert(X_PAI_GATEWAY_REQUEST_ID, id.to_header());
        self.metrics
            .answered(action, answer.outcome, started.elapsed());
        tracing::debug!(
            operation = action.as_str(),
            outcome = answer.outcome.as_str(),
            status = answer.response.status().as_u16(),
            request.id = id.as_str(),
            "answered"
        );
        answer.response
    }

    async fn reply<'a, B>(
        &self,
        call: Result<Call, Misrouted>,
        headers: &HeaderMap,
        body: B,
        host: &impl Fn() -> &'a str,
        now: Instant,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let call = call.map_err(Error::Misrouted)?;
        self.permits(&call.operation)?;
        match &call.operation {
            Operation::GetImage(key) => {
                refuse_body(&body)?;
                self.get_image(key, Demand::of(headers), host, now).await
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

    async fn get_image<'a>(
        &self,
        key: &ImageKey,
        demand: Demand,
        host: &impl Fn() -> &'a str,
        now: Instant,
    ) -> Result<Answer, Error> {
        let known = self.cache.look_up(key, now);
        match demand.plan(&known, now) {
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
            Plan::Negative(negative) => Ok(response::negative(
                &negative,
                host(),
                Outcome::Negative,
                CacheStatus::Negative,
            )),
            Plan::NotCached => Err(Error::NotCached),
            Plan::Fetch => {
                Box::pin(self.fetch(key, known, (Outcome::Miss, CacheStatus::Stored), host)).await
            }
            Plan::Refresh => {
                Box::pin(self.fetch(key, known, (Outcome::Refresh, CacheStatus::Forced), host))
                    .await
            }
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
        response::image(
            entry,
            age,
            outcome,
            status(entry.ttl.as_secs() as i64 - age.as_secs() as i64),
        )
    }

    /// Fetches, or waits for who is fetching; a stale image stands in for an origin that fails or is slow.
    async fn fetch<'a>(
        &self,
        key: &ImageKey,
        known: Known,
        (caused, stored): (Outcome, CacheStatus),
        host: &impl Fn() -> &'a str,
    ) -> Result<Answer, Error> {
        let _waiting = self.wait_in_line()?;
        let (seat, outcome, status) = match self.cache.fetch(key, &known, || self.call(key)) {
            Fetch::Started(seat) => (seat, caused, stored),
            Fetch::Joined(seat) => (seat, Outcome::Coalesced, CacheStatus::Collapsed),
            Fetch::Landed(arrived) => {
                return Ok(landing::answer(
                    &arrived,
                    host(),
                    Outcome::Coalesced,
                    CacheStatus::Collapsed,
                ));
            }
        };
        let (stale, wait) = match known {
            Known::Image(entry, _) => (Some(entry), self.config.wait_with_stale.0),
            Known::Negative(_) | Known::Nothing => (None, self.config.wait.0),
        };
        let error = match timeout(wait, seat.arrival()).await {
            Ok(Ok(Ok(arrived))) => return Ok(landing::answer(&arrived, host(), outcome, status)),
            Ok(Ok(Err(error))) => error,
            Ok(Err(flight_lost)) => {
                tracing::error!(error = %flight_lost, "a fetch panicked");
                return Err(Error::Internal);
            }
            Err(_) => UpstreamError::Timeout,
        };
        match stale {
            Some(entry) if error.permits_stale() => Ok(self.serve_held(
                &entry,
                Outcome::Stale,
                CacheStatus::OriginError,
                Instant::now(),
            )),
            _ => Err(error.into()),
        }
    }

    /// Fetches again behind everybody's back.
    fn revalidate(&self, key: &ImageKey, seen: &Known) {
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

    async fn read(&self, call: Call) -> Result<Answer, Error> {
        let _waiting = self.wait_in_line()?;
        landing::pass(self.upstream.send(&call, Bytes::new()).await)
    }

    /// Passes a write on, in a task of its own: once begun it is finished and its image forgotten,
    /// whatever comes of it and whoever still waits.
    async fn write<B>(&self, call: Call, body: B) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let _waiting = self.wait_in_line()?;
        let body = self.collect(body).await?;
        let (upstream, cache) = (Arc::clone(&self.upstream), Arc::clone(&self.cache));
        let task = self.tasks.spawn(async move {
            let answer = upstream.send(&call, body.clone()).await;
            let replied = answer
                .as_ref()
                .map_or_else(|_| Bytes::new(), |answer| answer.reply.body.clone());
            for image in landing::images_written(&call.operation, &body, &replied) {
                cache.invalidate(&image);
            }
            answer
        });
        landing::pass(task.await.map_err(|_| Error::Internal)?)
    }

    async fn collect<B>(&self, body: B) -> Result<Bytes, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let limit = self.config.max_body.0;
        let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
        match timeout(self.config.body_timeout.0, Box::pin(limited.collect())).await {
            Err(_) => Err(Error::BodyTooSlow),
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLong(limit)),
            Ok(Err(_)) => Err(Malformed::new("the body broke off").into()),
        }
    }

    fn wait_in_line(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.waiting.try_acquire().map_err(|_| Error::Overloaded)
    }
}

impl Service for Gateway {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.handle(request).await
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

/// The Host that the client asked, for `HostId`.
fn host<'a>(headers: &'a HeaderMap, uri: &'a http::Uri) -> &'a str {
    let named = headers
        .get(header::HOST)
        .and_then(|host: &HeaderValue| host.to_str().ok());
    named
        .or_else(|| uri.authority().map(http::uri::Authority::as_str))
        .unwrap_or("")
}
