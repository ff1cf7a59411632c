//! The queue of spans and the thread that sends them, with a count of what became of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{Protocol, RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

use super::http_client::OtlpHttpClient;
use super::{Config, TracesError};
use crate::observability::metrics::{Metrics, SpanFate};
use crate::transport::{self, Transport};

/// Spans of one export, which are some 200 KiB.
const BATCH: usize = 512;

/// Starts the exporter's thread and returns the processor that queues spans for it.
pub(super) fn processor(
    config: &Config,
    url: &str,
    metrics: &Arc<Metrics>,
) -> Result<CountingProcessor, TracesError> {
    let client = OtlpHttpClient::new(transport(config)?, config.timeout.0, Arc::clone(metrics));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(config.timeout.0)
        // Meanwhile the queue would fill with newer spans, which tell more.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    let queue = Arc::new(SpanQueue {
        waiting: AtomicUsize::new(0),
        metrics: Arc::clone(metrics),
    });
    let room = config.max_queue as usize;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(room)
        .with_max_export_batch_size(BATCH.min(room))
        .with_scheduled_delay(config.interval.0)
        .build();
    let exporter = CountingExporter {
        exporter,
        queue: Arc::clone(&queue),
    };
    Ok(CountingProcessor {
        batches: BatchSpanProcessor::new(exporter, batches),
        queue,
        room,
    })
}

fn transport(config: &Config) -> Result<Transport, TracesError> {
    let settings = transport::TransportConfig {
        section: transport::Section::Traces,
        ca_file: config.ca_file.clone(),
        proxy: None,
        unix: None,
        connect_timeout: config.timeout.0,
        idle_timeout: Duration::from_secs(20),
        // An OTLP response holds at most a short error text.
        max_body: 64 << 10,
    };
    Ok(transport::build(&settings)?)
}

#[derive(Debug)]
struct SpanQueue {
    /// Spans queued, counted here because the SDK's own queue does not say what it drops; never less than its length.
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// Processor that queues spans while there is room, and counts those it drops.
#[derive(Debug)]
pub(super) struct CountingProcessor {
    batches: BatchSpanProcessor,
    queue: Arc<SpanQueue>,
    room: usize,
}

impl SpanProcessor for CountingProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.waiting.fetch_add(1, Ordering::Relaxed) >= self.room {
            self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
            self.queue.metrics.traces.ended(SpanFate::Dropped, 1);
        } else {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Exporter that counts the spans of each batch as exported or lost.
#[derive(Debug)]
struct CountingExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    queue: Arc<SpanQueue>,
}

impl SpanExporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.queue.waiting.fetch_sub(spans, Ordering::Relaxed);
        let sent = self.exporter.export(batch).await;
        let fate = match sent {
            Ok(()) => SpanFate::Exported,
            Err(_) => SpanFate::Lost,
        };
        self.queue.metrics.traces.ended(fate, spans as u64);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
