//! Handling of a request, from its head to its response.
//!
//! ```text
//! classify → authenticate → dispatch:  GetImage  look up → decide → (fetch) → authorize → render
//!                                      lists     authorize the search → look up → decide → (fetch) → check the page
//!                                      writes    authorize by the image as it is now → origin → invalidate
//!                                      Resolve   each image as a GetImage → one answer
//!                       → respond:     charge → count → record
//! ```
//!
//! A hit awaits nothing: it takes no slot, sets no timer, spawns no task and has no future of its own. Cache, shared cache and upstream
//! meet here; none of them knows another.

mod catalogue;
mod config;
mod context;
mod directives;
mod discard_body;
mod dispatch;
mod exchange;
mod fallback;
mod fetch;
mod get_image;
mod ingest;
mod lists;
mod passthrough;
mod record;
mod render;
mod request_id;
mod resolve;
mod search;
mod tiered_fetch;
mod write_access;
mod write_nonce;

pub use config::Config;
pub use resolve::Config as ResolveConfig;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use compact_str::CompactString;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::api::{Call, Malformed};
use crate::auth::{Authenticator, Principal};
use crate::body::{Body, Budget};
use crate::cache::Cache;
use crate::observability::access_log::AccessLog;
use crate::observability::audit::AuditWriter;
use crate::observability::metrics::{ClientMetrics, Metrics};
use crate::observability::top_images::TopImages;
use crate::observability::traces::{SpanGuard, Traces};
use crate::peer::Peer;
use crate::response::Error;
use crate::server::{AmbiguousHead, Service};
use crate::shared_cache::SharedCache;
use crate::upstream::{Upstream, UpstreamError};
use context::RequestContext;
use dispatch::Reply;
use exchange::Exchange;

/// Name of requests that were not authenticated, in metrics and records.
const UNAUTHENTICATED: &str = "unauthenticated";

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Handles the requests of the API listener.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    resolve: ResolveConfig,
    not_found_code: CompactString,
    parts: GatewayParts,
    /// Requests without authentication, where it is not required.
    anonymous: ClientMetrics,
    unauthenticated: ClientMetrics,
    /// An audit, an access log or traces need the details of each request.
    records_access: bool,
    /// Slots of requests that wait for a fetch, the origin or a body.
    slots: Arc<Semaphore>,
    /// For tasks that outlive the call that started them.
    me: Weak<Self>,
}

/// The parts that a gateway is made of.
#[derive(Debug)]
pub struct GatewayParts {
    /// Authenticates clients.
    pub auth: Arc<Authenticator>,
    /// The cache in memory.
    pub cache: Arc<Cache<UpstreamError>>,
    /// The cache that replicas share, if one is configured.
    pub shared: Option<Arc<SharedCache>>,
    /// Calls to the origin.
    pub upstream: Arc<Upstream>,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// Estimate of the most requested images.
    pub top_images: Arc<TopImages>,
    /// The audit log, if one is configured.
    pub audit: Option<Arc<AuditWriter>>,
    /// The access log, if one is configured.
    pub access: Option<AccessLog>,
    /// Starts and continues traces, if they are exported.
    pub traces: Option<Arc<Traces>>,
    /// Memory for responses that clients have not read yet.
    pub budget: Budget,
    /// Owner of the tasks of writes, which finish even if their client disconnects.
    pub tasks: TaskTracker,
}

impl Gateway {
    /// Creates a gateway. At most `max_in_flight` requests wait at once for a fetch, the origin or a body;
    /// hits do not wait. `not_found_code` is the error code of a missing and a hidden image.
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
            slots: Arc::new(Semaphore::new(max_in_flight as usize)),
            me: Weak::clone(me),
            parts,
        })
    }

    /// Handles one request, whatever it is.
    pub async fn handle<B>(&self, head: &mut Parts, body: &mut B, peer: &Peer) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin,
    {
        let at = Instant::now();
        let call = Call::classify(&head.method, head.uri.path(), head.uri.query());
        let mut exchange = Exchange::new(self, &call, at, peer);
        let (auth, action) = (&self.parts.auth, exchange.action);
        let authenticated = auth.authenticate(head, peer, action, Timestamp::now);
        let span = self.request_span(&head.headers, authenticated.is_ok(), at);
        let reply = match &authenticated {
            Ok(client) => {
                let context = RequestContext::new(head, &exchange, client, &span);
                let lent = &mut *body;
                match caught(|| self.dispatch(&call, lent, &context)) {
                    Some(Reply::Ready(reply)) => reply,
                    Some(Reply::Waiting(reply)) => AssertUnwindSafe(reply)
                        .catch_unwind()
                        .await
                        .unwrap_or_else(|_| Err(self.panicked())),
                    None => Err(self.panicked()),
                }
            }
            Err(error) => {
                exchange.refused = Some(error.reason());
                Err((*error).into())
            }
        };
        if reply.is_err() && !body.is_end_stream() {
            Box::pin(discard_body::discard(body, head)).await;
        }
        let principal = authenticated.as_ref().ok().map(|client| &client.principal);
        self.respond(&exchange, head, principal, &span, reply)
    }

    /// Continues the trace of an authenticated client; samples a new one for anybody else, whose
    /// `traceparent` is not trusted.
    fn request_span(&self, headers: &HeaderMap, is_authenticated: bool, at: Instant) -> SpanGuard {
        match &self.parts.traces {
            None => SpanGuard::none(),
            Some(traces) if is_authenticated => traces.continue_or_sample(headers, at),
            Some(traces) => traces.sample(at),
        }
    }

    fn panicked(&self) -> Error {
        self.parts.metrics.panics.inc();
        Error::Internal
    }

    /// Takes a slot for a request that is about to wait.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if all are taken.
    fn acquire_slot(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.slots.try_acquire().map_err(|_| Error::Overloaded)
    }
}

impl Service for Gateway {
    fn answer(
        &self,
        head: &mut Parts,
        body: &mut Incoming,
        peer: &Peer,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.handle(head, body, peer)
    }

    /// Answers a malformed request, counted and recorded as any other. Its sender is not authenticated.
    fn refuse(&self, head: &mut Parts, why: AmbiguousHead, peer: &Peer) -> Response<Body> {
        let call = Call::classify(&head.method, head.uri.path(), head.uri.query());
        let exchange = Exchange::new(self, &call, Instant::now(), peer);
        let sender = (!self.parts.auth.is_required()).then_some(Principal::Anonymous);
        self.respond(
            &exchange,
            head,
            sender.as_ref(),
            &SpanGuard::none(),
            Err(Malformed::new(&why.to_string()).into()),
        )
    }
}

/// Runs a step of one request; `None` if it panics, which must end no other request.
fn caught<R>(step: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(step)).ok()
}

#[cfg(test)]
mod tests;
