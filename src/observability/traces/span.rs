//! Spans of a request, and the position in a trace at which the next span begins.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use http::HeaderMap;
use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;
use parking_lot::Mutex;

use super::traceparent;
use crate::api::ImageKey;

/// Position in a trace, under which spans may begin. For a request that is not traced it is empty, and every method
/// costs one look at an `Option`.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<SpanPosition>>);

/// A span that begins with this guard and ends when it is dropped.
#[derive(Debug, Default)]
#[must_use = "the span ends when the guard is dropped"]
pub struct SpanGuard(Trace);

/// Registration of a fetch, to which the spans of its waiters link until this is dropped.
#[derive(Debug)]
pub struct PublishedLink {
    shared: Arc<SharedTracer>,
    key: ImageKey,
    fetch: SpanContext,
}

#[derive(Debug)]
struct SpanPosition {
    shared: Arc<SharedTracer>,
    context: Context,
}

/// State that the traces of one gateway share.
#[derive(Debug)]
pub(super) struct SharedTracer {
    /// `None` if spans are not recorded and a `traceparent` is only forwarded.
    tracer: Option<SdkTracer>,
    forward: bool,
    /// The fetches under way that are traced.
    fetches: Mutex<HashMap<ImageKey, SpanContext>>,
}

impl SharedTracer {
    pub(super) fn new(tracer: Option<SdkTracer>, forward: bool) -> Self {
        Self {
            tracer,
            forward,
            fetches: Mutex::default(),
        }
    }

    pub(super) const fn is_recording(&self) -> bool {
        self.tracer.is_some()
    }
}

impl Trace {
    /// Creates an empty position, at which nothing is recorded.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Begins a child span.
    pub fn span(&self, name: &'static str) -> SpanGuard {
        self.begin(|_| SpanBuilder::from_name(name))
    }

    /// Begins the span of one attempt at a call to another service, numbered from 1.
    pub fn attempt(&self, number: u32) -> SpanGuard {
        let attempt =
            self.begin(|_| SpanBuilder::from_name("upstream.attempt").with_kind(SpanKind::Client));
        attempt.set("attempt", || i64::from(number));
        attempt
    }

    /// Begins the span of a wait for another request's fetch of this key, linked to that fetch.
    pub fn wait_for(&self, key: &ImageKey) -> SpanGuard {
        self.begin(|position| {
            let fetch = position.shared.fetches.lock().get(key).cloned();
            let links = fetch.map(|fetch| Link::new(fetch, Vec::new(), 0));
            SpanBuilder::from_name("flight.wait").with_links(links.into_iter().collect())
        })
    }

    /// Begins a trace of its own, linked to this position, for work that the request does not wait for.
    pub fn linked_root(&self, name: &'static str) -> SpanGuard {
        let Some((position, _)) = self.recorded() else {
            return SpanGuard::none();
        };
        let cause = Link::new(position.span_context(), Vec::new(), 0);
        SpanGuard::new_root(
            &position.shared,
            SpanBuilder::from_name(name).with_links(vec![cause]),
        )
    }

    /// Publishes this span as the fetch of the key, for waiters to link to, until the result is dropped.
    #[must_use]
    pub fn publish_link(&self, key: &ImageKey) -> Option<PublishedLink> {
        let (position, _) = self.recorded()?;
        let (shared, fetch) = (Arc::clone(&position.shared), position.span_context());
        shared.fetches.lock().insert(key.clone(), fetch.clone());
        Some(PublishedLink {
            shared,
            key: key.clone(),
            fetch,
        })
    }

    /// Sets an attribute of the span; `value` is built only when it is recorded. Never a secret, signature or body.
    pub fn set<V: Into<Value>>(&self, key: &'static str, value: impl FnOnce() -> V) {
        if let Some((position, _)) = self.recorded() {
            let attribute = KeyValue::new(key, value().into());
            position.context.span().set_attribute(attribute);
        }
    }

    /// Marks the span as failed.
    pub fn fail(&self, reason: &'static str) {
        if let Some((position, _)) = self.recorded() {
            position.context.span().set_status(Status::error(reason));
        }
    }

    /// Adds the `traceparent` of this position to the headers, if `traces.forward` is set.
    pub fn forward(&self, headers: &mut HeaderMap) {
        if let Some(position) = self.0.as_ref().filter(|position| position.shared.forward) {
            traceparent::write(&position.context, headers);
        }
    }

    /// Returns the trace's id in hexadecimal, if it is recorded.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        let (position, _) = self.recorded()?;
        Some(position.span_context().trace_id().to_string())
    }

    fn begin(&self, build: impl FnOnce(&SpanPosition) -> SpanBuilder) -> SpanGuard {
        let Some((position, tracer)) = self.recorded() else {
            // A span that is not recorded still forwards the traceparent.
            return SpanGuard(self.clone());
        };
        let builder = build(position);
        let span = tracer.build_with_context(builder, &position.context);
        SpanGuard::at(&position.shared, position.context.with_span(span))
    }

    fn recorded(&self) -> Option<(&SpanPosition, &SdkTracer)> {
        let position = self.0.as_deref()?;
        let tracer = position.shared.tracer.as_ref()?;
        position
            .span_context()
            .is_sampled()
            .then_some((position, tracer))
    }
}

impl SpanPosition {
    fn span_context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }
}

impl SpanGuard {
    /// Creates a guard of no span.
    pub const fn none() -> Self {
        Self(Trace::none())
    }

    /// Begins a span under another service's; it is recorded only if the other one is sampled.
    pub(super) fn root(shared: &Arc<SharedTracer>, context: Context, builder: SpanBuilder) -> Self {
        if shared.forward || context.span().span_context().is_sampled() {
            let parent = Self::at(shared, context);
            parent.begin(|_| builder)
        } else {
            Self::none()
        }
    }

    /// Begins a new trace, whose sampling the caller has decided.
    pub(super) fn new_root(shared: &Arc<SharedTracer>, builder: SpanBuilder) -> Self {
        let Some(tracer) = &shared.tracer else {
            return Self::none();
        };
        let span = tracer.build_with_context(builder, &Context::new());
        Self::at(shared, Context::new().with_span(span))
    }

    fn at(shared: &Arc<SharedTracer>, context: Context) -> Self {
        let shared = Arc::clone(shared);
        Self(Trace(Some(Arc::new(SpanPosition { shared, context }))))
    }
}

impl Deref for SpanGuard {
    type Target = Trace;

    fn deref(&self) -> &Trace {
        &self.0
    }
}

impl Drop for SpanGuard {
    fn drop(&mut self) {
        // Child spans may still hold on to the position; another service's span is not ended by this.
        if let Some(position) = &self.0.0 {
            position.context.span().end();
        }
    }
}

impl Drop for PublishedLink {
    fn drop(&mut self) {
        let mut fetches = self.shared.fetches.lock();
        if fetches.get(&self.key) == Some(&self.fetch) {
            fetches.remove(&self.key);
        }
    }
}
