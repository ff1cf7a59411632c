//! The admin listener: probes, metrics, status and its page, purge, and the explanation of an entry.
//!
//! Probes never call the origin. Probes, metrics and the page, which holds no data of its own, are open. Everything
//! else needs the token where one is set, and refuses requests that a browser could be tricked into: a foreign
//! `Origin`, a `Host` with a foreign name, a POST that is not JSON.

mod access;
pub mod client;
mod config;
mod entries;
mod health;
mod history;
mod instance;
mod page;
mod purge;
mod status;

pub use config::{Config, ObserveConfig};
pub use health::Health;
pub use instance::GatewayInstance;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::auth::Authenticator;
use crate::body::Body;
use crate::cache::Cache;
use crate::credentials::CredentialProvider;
use crate::observability::audit::AuditWriter;
use crate::observability::history::PastHour;
use crate::observability::metrics::{Encoding, Exposition, Metrics};
use crate::observability::top_images::TopImages;
use crate::peer::Peer;
use crate::server::{AmbiguousHead, Service};
use crate::shared_cache::SharedCache;
use crate::upstream::{Upstream, UpstreamError};

/// The parts of the gateway that the admin and observe listeners show or change.
pub struct Admin {
    /// Start of the gateway, for `uptime_seconds`.
    pub started: Instant,
    /// The audit of purges and refused tokens; `None` when it is off.
    pub audit: Option<Arc<AuditWriter>>,
    /// The authentication of the data port; where it is on, the admin pages need a token.
    pub auth: Arc<Authenticator>,
    /// State of the probes.
    pub health: Arc<Health>,
    /// The metrics, for `/metrics` and `/status`.
    pub metrics: Arc<Metrics>,
    /// The last hour's figures, for `/status/history`, and the last minutes' latencies, for `/status`.
    pub history: Arc<PastHour>,
    /// The images requested most, for `/status`.
    pub top_images: Arc<TopImages>,
    /// The cache, to explain and to purge.
    pub cache: Arc<Cache<UpstreamError>>,
    /// The shared cache, which a purge reaches too; `None` when it is off.
    pub shared: Option<Arc<SharedCache>>,
    /// The client of the origin, for its breakers, quota and recent errors.
    pub upstream: Arc<Upstream>,
    /// The credential that signs calls to the origin, without which the gateway is not ready.
    pub credentials: Arc<CredentialProvider>,
    /// Name of this gateway and what tells it from others, for `/status`.
    pub instance: GatewayInstance,
    /// Addresses of the listeners, by name, as `/status` shows them.
    pub listening: Value,
    /// The effective settings, in TOML.
    pub settings: Arc<ArcSwap<String>>,
    /// Bearer token for everything but probes, metrics and the page; `None` when none is set.
    pub token: Option<SecretString>,
}

/// The observe listener: probes and metrics alone, for a network that must not reach the other pages.
pub struct Observe(pub Arc<Admin>);

impl Service for Observe {
    async fn answer(&self, head: &mut Parts, _: &mut Incoming, _: &Peer) -> Response<Body> {
        self.0
            .open(&head.method, head.uri.path(), &head.headers)
            .unwrap_or_else(|| error(StatusCode::NOT_FOUND, "no such page"))
    }

    fn refuse(&self, _: &mut Parts, why: AmbiguousHead, _: &Peer) -> Response<Body> {
        error(StatusCode::BAD_REQUEST, &why.to_string())
    }
}

impl Service for Admin {
    async fn answer(&self, head: &mut Parts, body: &mut Incoming, peer: &Peer) -> Response<Body> {
        let path = head.uri.path();
        if let Some(response) = self.open(&head.method, path, &head.headers) {
            return response;
        }
        let own_site = self.refuse_foreign(&head.headers);
        if let (Ok(()), Some(asset)) = (own_site, page::find(path)) {
            return self.page(&head.method, asset);
        }
        if let Err((status, reason)) = own_site.and_then(|()| self.admit(&head.headers)) {
            self.record_refusal(peer, status, reason);
            return error(status, reason);
        }
        match (&head.method, path) {
            (&Method::GET, "/status") => as_json(&self.status()),
            (&Method::GET, "/status/history") => as_json(&self.past_hour()),
            (&Method::GET, "/config") => text(
                StatusCode::OK,
                "application/toml",
                self.settings.load().to_string(),
            ),
            (&Method::POST, "/purge") => self.purge(&head.headers, body, peer).await,
            (&Method::GET, "/entries") => as_json(&self.held_lists()),
            (&Method::GET, _) if path.starts_with("/entries/") => {
                self.entries(path.trim_start_matches("/entries/"))
            }
            _ if path.starts_with("/entries/") => method_not_allowed("GET"),
            (_, "/purge") => method_not_allowed("POST"),
            (_, "/status" | "/status/history" | "/config" | "/entries") => {
                method_not_allowed("GET")
            }
            _ => error(StatusCode::NOT_FOUND, "no such page"),
        }
    }

    fn refuse(&self, _: &mut Parts, why: AmbiguousHead, _: &Peer) -> Response<Body> {
        error(StatusCode::BAD_REQUEST, &why.to_string())
    }
}

impl Admin {
    /// Answers the open paths: probes and metrics; `None` for any other path.
    fn open(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let page = match path {
            "/livez" => text(StatusCode::OK, PLAIN, "alive\n".to_owned()),
            "/readyz" => self.probe(self.health.readiness(&self.credentials, &self.auth)),
            "/startupz" => self.probe(self.health.startup(&self.credentials, &self.auth)),
            "/metrics" => self.exposition(headers),
            _ => return None,
        };
        Some(if matches!(*method, Method::GET | Method::HEAD) {
            page
        } else {
            method_not_allowed("GET, HEAD")
        })
    }

    /// Renders the metrics, compressed if the scraper accepts gzip. Gauges that parts do not keep are set first.
    fn exposition(&self, headers: &HeaderMap) -> Response<Body> {
        self.cache.export();
        self.upstream.export();
        self.auth.export();
        let tasks = Handle::current().metrics().num_alive_tasks();
        self.metrics
            .tasks
            .set(i64::try_from(tasks).unwrap_or(i64::MAX));
        let accepted = header(headers, &ACCEPT_ENCODING).unwrap_or("");
        let encoding = Encoding::of_accepted(accepted);
        let exposition = Exposition::new(self.metrics.render(), encoding);
        let mut response = Response::new(Body::from(exposition.body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(EXPOSITION));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if exposition.encoding == Encoding::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn probe(&self, state: Result<(), &'static str>) -> Response<Body> {
        match state {
            Ok(()) => text(StatusCode::OK, PLAIN, "ready\n".to_owned()),
            Err(reason) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                PLAIN,
                format!("{reason}\n"),
            ),
        }
    }
}

/// Returns the value of a header, if it is text.
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into_bytes()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn as_json(value: &Value) -> Response<Body> {
    text(StatusCode::OK, "application/json", format!("{value}\n"))
}

fn error(status: StatusCode, message: &str) -> Response<Body> {
    text(
        status,
        "application/json",
        format!("{}\n", json!({ "error": message })),
    )
}

fn method_not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = error(
        StatusCode::METHOD_NOT_ALLOWED,
        "this page has other methods",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}
