//! Traces: a client's `traceparent` in, spans out to a collector by OTLP over HTTP.
//!
//! Tracing that is off costs a request one look at an `Option`. With tracing on, a request is recorded if it is
//! sampled: by the flag of its `traceparent` if its sender is authenticated, else by chance. A hit is one span; a
//! miss has a span for each step:
//!
//! ```text
//! request ─┬─ cache.fetch ── upstream.attempt (each) ─┬─ queue      until this call may be sent
//!          │                                          ├─ sign
//!          │                                          └─ exchange   connect, send, read the answer
//!          └─ flight.wait, linked to the cache.fetch of the first request
//! ```
//!
//! A refresh in the background is a trace of its own, linked to the request that asked for it. No
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

/// Longest wait of a stop for the last spans to be exported.
const LONGEST_STOP: Duration = Duration::from_secs(2);

/// Entry point of tracing: decides which requests are traced, and begins their spans.
#[derive(Debug)]
pub struct Traces {
    sample_rate: f64,
    shared: Arc<SharedTracer>,
    provider: Option<SdkTracerProvider>,
}

/// Error of the settings or of OpenTelemetry's variables: traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The client towards the collector cannot be made.
    #[error(transparent)]
    Client(#[from] BuildError),
    /// A variable of OpenTelemetry's own has a value that the exporter does not support.
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    /// Starts the thread that exports spans; `None` without a collector and with nothing to forward. To be called on
    /// the runtime that sends.
    ///
    /// # Errors
    /// [`TracesError`]. A collector that does not answer is no error: it may come later.
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

    /// Begins the span of an authenticated request: within the trace of its `traceparent` and by that one's flag, else
    /// by chance. A malformed `traceparent` counts as none.
    pub fn continue_or_sample(&self, headers: &HeaderMap, at: Instant) -> SpanGuard {
        match traceparent::read(headers) {
            Some(context) => SpanGuard::root(&self.shared, context, request_span(at)),
            None => self.sample(at),
        }
    }

    /// Begins the span of a request by chance alone, so that a stranger's `traceparent` cannot fill the collector.
    pub fn sample(&self, at: Instant) -> SpanGuard {
        if self.shared.is_recording() && fastrand::f64() < self.sample_rate {
            SpanGuard::new_root(&self.shared, request_span(at))
        } else {
            SpanGuard::none()
        }
    }

    /// Exports the queued spans, for at most two seconds. Spans that end later are lost.
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

/// Returns the resource that all spans carry: service name and version, and what `OTEL_RESOURCE_ATTRIBUTES` adds.
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
