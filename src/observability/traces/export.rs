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

use super::courier::Courier;
use super::{BadTraces, Config};
use crate::observability::metrics::{Metrics, SpanFate};
use crate::transport::{self, Transport};

/// Spans that are sent together: some 200 KiB.
const BATCH: usize = 512;

/// Starts the thread.
pub(super) fn processor(
    config: &Config,
    url: &str,
    metrics: &Arc<Metrics>,
) -> Result<Counted, BadTraces> {
    let courier = Courier::new(transport(config)?, config.timeout.0, Arc::clone(metrics));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(courier)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(config.timeout.0)
        // Meanwhile the queue would fill with newer spans, which tell more.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    let queue = Arc::new(Queue {
        waiting: AtomicUsize::new(0),
        metrics: Arc::clone(metrics),
    });
    let room = config.max_queue as usize;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(room)
        .with_max_export_batch_size(BATCH.min(room))
        .with_scheduled_delay(config.interval.0)
        .build();
    let exporter = CountedExporter {
        exporter,
        queue: Arc::clone(&queue),
    };
    Ok(Counted {
        batches: BatchSpanProcessor::new(exporter, batches),
        queue,
        room,
    })
}

fn transport(config: &Config) -> Result<Transport, BadTraces> {
    let settings = transport::TransportConfig {
        section: transport::Section::Traces,
        ca_file: config.ca_file.clone(),
        proxy: None,
        connect_timeout: config.timeout.0,
        idle_timeout: Duration::from_secs(20),
        // An answer says next to nothing.
        max_body: 64 << 10,
    };
    Ok(transport::build(&settings)?)
}

#[derive(Debug)]
struct Queue {
    /// At least as many as are in the SDK's own queue, which does not tell what it drops.
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// Queues spans for sending while there is room.
#[derive(Debug)]
pub(super) struct Counted {
    batches: BatchSpanProcessor,
    queue: Arc<Queue>,
    room: usize,
}

impl SpanProcessor for Counted {
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

/// Counts what was sent and what was not.
#[derive(Debug)]
struct CountedExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    queue: Arc<Queue>,
}

impl SpanExporter for CountedExporter {
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
