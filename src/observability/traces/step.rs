//! A step of a request, as a span; and where in a trace the next one belongs.

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

/// Where in a trace something happens; nowhere for what is not traced, at the price of a look.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<Place>>);

/// A step that began when this was made, and ends when it is dropped.
#[derive(Debug, Default)]
#[must_use = "a step ends when it is dropped"]
pub struct Step(Trace);

/// A fetch that others may link to while this lives.
#[derive(Debug)]
pub struct Announced {
    shared: Arc<Shared>,
    key: ImageKey,
    fetch: SpanContext,
}

#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    context: Context,
}

/// What the traces of one gateway share.
#[derive(Debug)]
pub(super) struct Shared {
    /// `None` where spans are not recorded, and a `traceparent` only handed on.
    tracer: Option<SdkTracer>,
    forward: bool,
    /// The fetches under way that are traced.
    fetches: Mutex<HashMap<ImageKey, SpanContext>>,
}

impl Shared {
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
    /// Nowhere: steps from here are none.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Begins a step below this one.
    pub fn step(&self, name: &'static str) -> Step {
        self.begin(|_| SpanBuilder::from_name(name))
    }

    /// Begins a call to another service, the so many-th attempt at it.
    pub fn attempt(&self, number: u32) -> Step {
        let attempt =
            self.begin(|_| SpanBuilder::from_name("upstream.attempt").with_kind(SpanKind::Client));
        attempt.set("attempt", || i64::from(number));
        attempt
    }

    /// Begins to wait for who already fetches this key.
    pub fn join(&self, key: &ImageKey) -> Step {
        self.begin(|place| {
            let fetch = place.shared.fetches.lock().get(key).cloned();
            let links = fetch.map(|fetch| Link::new(fetch, Vec::new(), 0));
            SpanBuilder::from_name("flight.wait").with_links(links.into_iter().collect())
        })
    }

    /// Begins something that nobody waits for: a trace of its own, linked to this.
    pub fn aside(&self, name: &'static str) -> Step {
        let Some((place, _)) = self.recorded() else {
            return Step::none();
        };
        let cause = Link::new(place.here(), Vec::new(), 0);
        Step::drawn(
            &place.shared,
            SpanBuilder::from_name(name).with_links(vec![cause]),
        )
    }

    /// Lets others who want this key link to this step, until what is returned is dropped.
    #[must_use]
    pub fn announce(&self, key: &ImageKey) -> Option<Announced> {
        let (place, _) = self.recorded()?;
        let (shared, fetch) = (Arc::clone(&place.shared), place.here());
        shared.fetches.lock().insert(key.clone(), fetch.clone());
        Some(Announced {
            shared,
            key: key.clone(),
            fetch,
        })
    }

    /// Notes something about this step. Never a secret, a signature or a body.
    pub fn set<V: Into<Value>>(&self, key: &'static str, value: impl FnOnce() -> V) {
        if let Some((place, _)) = self.recorded() {
            let attribute = KeyValue::new(key, value().into());
            place.context.span().set_attribute(attribute);
        }
    }

    /// Notes that this step failed.
    pub fn fail(&self, reason: &'static str) {
        if let Some((place, _)) = self.recorded() {
            place.context.span().set_status(Status::error(reason));
        }
    }

    /// Adds the `traceparent` of this place, where the settings let it go on.
    pub fn forward(&self, headers: &mut HeaderMap) {
        if let Some(place) = self.0.as_ref().filter(|place| place.shared.forward) {
            traceparent::write(&place.context, headers);
        }
    }

    /// The trace's id, where it is recorded.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        let (place, _) = self.recorded()?;
        Some(place.here().trace_id().to_string())
    }

    fn begin(&self, build: impl FnOnce(&Place) -> SpanBuilder) -> Step {
        let Some((place, tracer)) = self.recorded() else {
            // A step that is not recorded still hands the traceparent on.
            return Step(self.clone());
        };
        let builder = build(place);
        let span = tracer.build_with_context(builder, &place.context);
        Step::at(&place.shared, place.context.with_span(span))
    }

    fn recorded(&self) -> Option<(&Place, &SdkTracer)> {
        let place = self.0.as_deref()?;
        let tracer = place.shared.tracer.as_ref()?;
        place.here().is_sampled().then_some((place, tracer))
    }
}

impl Place {
    fn here(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }
}

impl Step {
    /// No step.
    pub const fn none() -> Self {
        Self(Trace::none())
    }

    /// Begins where another service has left off; records nothing if that did not either.
    pub(super) fn root(shared: &Arc<Shared>, context: Context, builder: SpanBuilder) -> Self {
        if shared.forward || context.span().span_context().is_sampled() {
            let parent = Self::at(shared, context);
            parent.begin(|_| builder)
        } else {
            Self::none()
        }
    }

    /// Begins a trace.
    pub(super) fn drawn(shared: &Arc<Shared>, builder: SpanBuilder) -> Self {
        let Some(tracer) = &shared.tracer else {
            return Self::none();
        };
        let span = tracer.build_with_context(builder, &Context::new());
        Self::at(shared, Context::new().with_span(span))
    }

    fn at(shared: &Arc<Shared>, context: Context) -> Self {
        let shared = Arc::clone(shared);
        Self(Trace(Some(Arc::new(Place { shared, context }))))
    }
}

impl Deref for Step {
    type Target = Trace;

    fn deref(&self) -> &Trace {
        &self.0
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // Steps below may still hold on to the place; another service's span is not ended by this.
        if let Some(place) = &self.0.0 {
            place.context.span().end();
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut fetches = self.shared.fetches.lock();
        if fetches.get(&self.key) == Some(&self.fetch) {
            fetches.remove(&self.key);
        }
    }
}
