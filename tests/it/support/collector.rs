//! A collector of traces, by OTLP over HTTP, that can fail.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;

use super::eventually;
use super::tls::Issued;

/// Behaviour of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Taking,
    Refusing,
    /// Accepts requests, and never answers.
    Hanging,
}

#[derive(Debug)]
struct Inside {
    mood: Mood,
    spans: Vec<Span>,
    /// Received requests, as bytes.
    bytes: Vec<u8>,
    services: Vec<String>,
    requests: usize,
}

/// A collector. Dropping it closes its port and its connections.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    task: JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts one as `localhost`, with TLS.
    pub(crate) async fn start_tls(issued: &Issued) -> Self {
        let accepting = TlsAcceptor::from(issued.server());
        Self::listen("127.0.0.1:0".parse().unwrap(), Some(accepting)).await
    }

    pub(crate) async fn start_on(address: SocketAddr) -> Self {
        Self::listen(address, None).await
    }

    async fn listen(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let inside = Arc::new(Mutex::new(Inside {
            mood: Mood::Taking,
            spans: Vec::new(),
            bytes: Vec::new(),
            services: Vec::new(),
            requests: 0,
        }));
        Self {
            address: listener.local_addr().unwrap(),
            inside: Arc::clone(&inside),
            task: tokio::spawn(accept(listener, tls, inside)),
        }
    }

    /// The URL for the settings.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.inside.lock().mood = mood;
    }

    pub(crate) fn requests(&self) -> usize {
        self.inside.lock().requests
    }

    pub(crate) fn services(&self) -> Vec<String> {
        self.inside.lock().services.clone()
    }

    /// Returns everything received, as far as it is text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.inside.lock().bytes).into_owned()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.inside.lock().spans.clone()
    }

    /// Returns the spans of a trace, in order of their start, once so many have arrived.
    pub(crate) async fn trace(&self, id: &str, count: usize) -> Vec<Span> {
        let of_trace = || {
            let mut spans = self.spans();
            spans.retain(|span| hex(&span.trace_id) == id);
            spans.sort_by_key(|span| span.start_time_unix_nano);
            spans
        };
        eventually(&format!("{count} spans have come"), async || {
            of_trace().len() >= count
        })
        .await;
        of_trace()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, inside: Arc<Mutex<Inside>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (inside, tls) = (Arc::clone(&inside), tls.clone());
        connections.spawn(async move {
            let stream = match tls {
                None => Either::Left(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Either::Right(stream),
                    // A client that does not trust the certificate disconnects.
                    Err(_) => return,
                },
            };
            let service = service_fn(move |request| take(request, Arc::clone(&inside)));
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(served.await);
        });
    }
}

async fn take(
    request: Request<Incoming>,
    inside: Arc<Mutex<Inside>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mood = {
        let mut inside = inside.lock();
        inside.requests += 1;
        inside.mood
    };
    let status = match mood {
        Mood::Taking => 200,
        Mood::Refusing => 503,
        Mood::Hanging => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            200
        }
    };
    if mood == Mood::Taking {
        keep(&body, &mut inside.lock());
    }
    let answer = Response::builder().status(status);
    Ok(answer.body(Full::default()).unwrap())
}

fn keep(body: &Bytes, inside: &mut Inside) {
    let sent = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    for of_resource in sent.resource_spans {
        let attributes = &of_resource.resource.unwrap().attributes;
        let name = attributes.iter().find(|pair| pair.key == "service.name");
        inside
            .services
            .push(text(name.unwrap().value.as_ref().unwrap().value.as_ref()));
        for of_scope in of_resource.scope_spans {
            inside.spans.extend(of_scope.spans);
        }
    }
    inside.bytes.extend(body);
}

/// Returns the only span of this name.
pub(crate) fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:?}");
    found[0]
}

/// Returns an attribute's value, empty without one.
pub(crate) fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == key);
    text(found.and_then(|pair| pair.value.as_ref()?.value.as_ref()))
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        None => String::new(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
