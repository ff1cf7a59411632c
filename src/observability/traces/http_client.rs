//! The HTTP client of the OTLP exporter, over the gateway's own transport and runtime.
//!
//! The SDK drives its exporter on a thread without a runtime. Whatever needs one would panic there, the
//! thread would be gone, and every later span lost without notice. So nothing but a join handle is
//! awaited on that thread; the request, its timer and its connection live on the runtime.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::error_chain::error_chain;
use crate::observability::logging::Condition;
use crate::observability::metrics::{ExportResult, Metrics};
use crate::transport::Transport;

/// Client that sends each export as a task of the runtime on which it was created.
#[derive(Debug)]
pub(super) struct OtlpHttpClient {
    runtime: Handle,
    transport: Transport,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl OtlpHttpClient {
    /// Creates the client; to be called on the runtime that sends. An export takes `timeout` at most.
    pub(super) fn new(transport: Transport, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            runtime: Handle::current(),
            transport,
            timeout,
            metrics,
        }
    }

    /// Counts an export, and logs a failed one, once a minute at most.
    fn report(&self, result: ExportResult, reason: &str) {
        self.metrics.traces.sent(result);
        if result == ExportResult::Ok {
            return;
        }
        let conditions = &self.metrics.conditions;
        conditions.occurred(Condition::SpansLost, "", || {
            format!("{}: {reason}", result.as_str())
        });
    }
}

#[async_trait]
impl HttpClient for OtlpHttpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (transport, limit) = (self.transport.clone(), self.timeout);
        let sending = self.runtime.spawn(async move {
            let sent = timeout(limit, transport.oneshot(request.map(Full::new))).await;
            sent.map_err(|_| ExportResult::Timeout)
        });
        let (result, reason) = match sending.await {
            Ok(Ok(Ok(reply))) if (200..300).contains(&reply.status) => {
                self.report(ExportResult::Ok, "");
                return Ok(Response::new(reply.body));
            }
            Ok(Ok(Ok(reply))) => (ExportResult::Refused, format!("status {}", reply.status)),
            Ok(Ok(Err(error))) => (ExportResult::Transport, error_chain(&error)),
            Ok(Err(timeout)) => (timeout, "no answer in time".to_owned()),
            // The runtime is being shut down.
            Err(gone) => (ExportResult::Transport, gone.to_string()),
        };
        self.report(result, &reason);
        Err(reason.into())
    }
}
