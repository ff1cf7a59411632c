//! Traces: a client's `traceparent` in, spans out to a collector by OTLP over HTTP.
//!
//! Off, there are none, and a request pays for a look at an `Option`. On, a request pays if it is
//! sampled: by the flag of its `traceparent` where its sender has signed in, else by chance. A hit is
//! one span; a miss tells its steps:
//!
//! ```text
//! request ─┬─ cache.fetch ── upstream.attempt (each) ─┬─ queue      until it was this call's turn
//!          │                                          ├─ sign
//!          │                                          └─ exchange   connect, send, read the answer
//!          └─ flight.wait, linked to the cache.fetch of who came first
//! ```
//!
//! A refresh behind a client's back is a trace of its own, linked to the request that asked for it. No
//! request waits for a collector: spans wait in a bounded queue for a thread that sends them, and what
//! cannot be queued or sent is counted and lost.

mod config;
mod export;
mod http_client;
mod span;
mod traceparent;

pub use config::{Config, collector};
pub use span::{PublishedLink, SpanGuard, Trace};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind, TracerProvider};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::time::{Instant, timeout};

use crate::environment::Environment;
use crate::observability::metrics::Metrics;
use crate::transport::BuildError;
use span::SharedTracer;

/// The longest that a stop waits for the last spans to be sent.
const LONGEST_STOP: Duration = Duration::from_secs(2);

/// Begins traces.
#[derive(Debug)]
pub struct Traces {
    sample_rate: f64,
    shared: Arc<SharedTracer>,
    provider: Option<SdkTracerProvider>,
}

/// Traces cannot be sent as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The client towards the collector cannot be made.
    #[error(transparent)]
    Client(#[from] BuildError),
    /// A variable of OpenTelemetry's own says what cannot be done.
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    /// Starts the thread that sends spans; `None` where there is neither a collector nor anything to
    /// hand on. To be called on the runtime that is to send.
    ///
    /// # Errors
    /// [`TracesError`]; a collector that is not there is no error.
    pub fn open(
        config: &Config,
        environment: &Environment,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Self>, TracesError> {
        let provider = match collector(config, environment) {
            None if !config.forward => return Ok(None),
            None => None,
            Some(url) => {
                metrics.traces.expose();
                tracing::info!(collector = url, sample = config.sample, "traces are sent");
                let processor = export::processor(config, &url, metrics)?;
                let provider = SdkTracerProvider::builder()
                    // Which requests are traced has been decided before a span is made.
                    .with_sampler(Sampler::AlwaysOn)
                    .with_resource(resource(config, environment))
                    .with_span_processor(processor);
                Some(provider.build())
            }
        };
        let tracer = provider
            .as_ref()
            .map(|provider| provider.tracer(env!("CARGO_PKG_NAME")));
        Ok(Some(Self {
            sample_rate: config.sample,
            shared: Arc::new(SharedTracer::new(tracer, config.forward)),
            provider,
        }))
    }

    /// Begins the span of a request whose sender is known: within the trace that its `traceparent`
    /// names and by its flag, else by chance. One that cannot be read counts as none.
    pub fn continue_or_sample(&self, headers: &HeaderMap, at: Instant) -> SpanGuard {
        match traceparent::read(headers) {
            Some(context) => SpanGuard::root(&self.shared, context, request_span(at)),
            None => self.sample(at),
        }
    }

    /// Begins the span of a request by chance alone: what a stranger sends does not fill a collector.
    pub fn sample(&self, at: Instant) -> SpanGuard {
        if self.shared.is_recording() && fastrand::f64() < self.sample_rate {
            SpanGuard::new_root(&self.shared, request_span(at))
        } else {
            SpanGuard::none()
        }
    }

    /// Sends what is still there, for at most two seconds. Spans that end later are lost.
    pub async fn stop(&self) {
        let Some(provider) = self.provider.clone() else {
            return;
        };
        // The exporter's thread needs this runtime to send, so nothing here may block it.
        let sent =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LONGEST_STOP));
        if !matches!(timeout(LONGEST_STOP, sent).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the collector did not take the last spans in time; they are lost");
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Unless it was stopped. The SDK's own drop would wait, on a thread that has to send.
        if let Some(provider) = &self.provider {
            drop(provider.shutdown_with_timeout(Duration::ZERO));
        }
    }
}

fn request_span(at: Instant) -> SpanBuilder {
    SpanBuilder::from_name("request")
        .with_kind(SpanKind::Server)
        .with_start_time(SystemTime::now() - at.elapsed())
}

/// Who sends the spans; `OTEL_RESOURCE_ATTRIBUTES` may add to it.
fn resource(config: &Config, environment: &Environment) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    match config.service_name(environment) {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

#[cfg(test)]
mod tests;
