//! The admin listener: probes, metrics, status, its page, purge and explain.
//!
//! Probes never touch the origin. Everything but probes, metrics and the page, which has no data of its
//! own, needs the token where one is set,
//! and refuses what a browser could be tricked into: a foreign `Origin`, a `Host` that is a name
//! somebody else controls, a POST that is not JSON.

pub mod client;
mod entries;
mod health;
mod page;
mod purge;
mod status;

pub use health::Health;

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::api::Malformed;
use crate::auth::Authenticator;
use crate::body::Body;
use crate::cache::Cache;
use crate::credentials::CredentialProvider;
use crate::observability::audit::AuditWriter;
use crate::observability::logging::Condition;
use crate::observability::metrics::{Encoding, Exposition, Metrics};
use crate::observability::top_images::TopImages;
use crate::peer::Peer;
use crate::server::{Address, Service};
use crate::shared_cache::SharedCache;
use crate::upstream::{Upstream, UpstreamError};

/// The `[admin]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// IP address and port; port 0 takes a free one.
    pub address: String,
    /// Path of a Unix socket to listen on instead.
    pub unix: Option<String>,
    /// File with the bearer token that the admin pages need.
    pub token_file: Option<String>,
}

/// The `[observe]` settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveConfig {
    /// IP address and port of a listener with probes and metrics alone.
    pub address: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:9901".to_owned(),
            unix: None,
            token_file: None,
        }
    }
}

impl Config {
    /// Where to listen; `None` for an address that is none.
    #[must_use]
    pub fn listener(&self) -> Option<Address> {
        Address::parse(&self.address, self.unix.as_deref(), 0o600)
    }

    /// The token to ask for.
    ///
    /// # Errors
    /// When its file cannot be read or is empty.
    pub fn token(&self) -> io::Result<Option<SecretString>> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let text = fs::read_to_string(path)?;
        match text.trim() {
            "" => Err(io::Error::other("the token file is empty")),
            token => Ok(Some(SecretString::from(token))),
        }
    }
}

/// What the listeners beside the data port show.
pub struct Admin {
    /// When the gateway started.
    pub started: Instant,
    /// Where purges and refused tokens are written down.
    pub audit: Option<Arc<AuditWriter>>,
    /// Who may ask the data port.
    pub auth: Arc<Authenticator>,
    /// Whether the gateway lives, is ready, has started.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which images are asked for most.
    pub top_images: Arc<TopImages>,
    /// What is cached.
    pub cache: Arc<Cache<UpstreamError>>,
    /// What the fleet shares, if it does.
    pub shared: Option<Arc<SharedCache>>,
    /// Where the origin is asked.
    pub upstream: Arc<Upstream>,
    /// What is signed with.
    pub credentials: Arc<CredentialProvider>,
    /// Addresses that are listened on, by name.
    pub listening: Value,
    /// The effective settings, in TOML.
    pub settings: Arc<ArcSwap<String>>,
    /// Asked for by everything but probes, metrics and the page.
    pub token: Option<SecretString>,
}

/// The same with probes and metrics alone.
pub struct Observe(pub Arc<Admin>);

impl Service for Observe {
    async fn answer(&self, request: Request<Incoming>, _: &Peer) -> Response<Body> {
        self.0
            .open(request.method(), request.uri().path(), request.headers())
            .unwrap_or_else(|| error(StatusCode::NOT_FOUND, "no such page"))
    }

    fn refuse(&self, _: Parts, why: Malformed, _: &Peer) -> Response<Body> {
        error(StatusCode::BAD_REQUEST, &why.to_string())
    }
}

impl Service for Admin {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let (head, body) = request.into_parts();
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
            (&Method::GET, "/config") => text(
                StatusCode::OK,
                "application/toml",
                self.settings.load().to_string(),
            ),
            (&Method::POST, "/purge") => self.purge(&head.headers, body, peer).await,
            (&Method::GET, _) if path.starts_with("/entries/") => {
                self.entries(path.trim_start_matches("/entries/"))
            }
            _ if path.starts_with("/entries/") => method_not_allowed("GET"),
            (_, "/purge") => method_not_allowed("POST"),
            (_, "/status" | "/config") => method_not_allowed("GET"),
            _ => error(StatusCode::NOT_FOUND, "no such page"),
        }
    }

    fn refuse(&self, _: Parts, why: Malformed, _: &Peer) -> Response<Body> {
        error(StatusCode::BAD_REQUEST, &why.to_string())
    }
}

impl Admin {
    /// Pages for everybody: probes and metrics.
    fn open(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let page = match path {
            "/livez" => text(StatusCode::OK, PLAIN, "alive\n".to_owned()),
            "/readyz" => self.probe(self.health.readiness(&self.credentials)),
            "/startupz" => self.probe(self.health.startup(&self.credentials)),
            "/metrics" => self.exposition(headers),
            _ => return None,
        };
        Some(if matches!(*method, Method::GET | Method::HEAD) {
            page
        } else {
            method_not_allowed("GET, HEAD")
        })
    }

    /// The metrics as they are now, compressed where the scraper takes that.
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

    /// Refuses what a page of another site, or a name that another controls, makes a browser ask.
    fn refuse_foreign(&self, headers: &HeaderMap) -> Result<(), AdminRefusal> {
        let host = header(headers, &HOST).unwrap_or("");
        let is_foreign = |origin: &str| {
            let site = origin.split_once("://");
            site.is_none_or(|(_, site)| site != host)
        };
        if header(headers, &ORIGIN).is_some_and(is_foreign) {
            return Err((
                StatusCode::FORBIDDEN,
                "a page of another site may not ask this",
            ));
        }
        if self.token.is_none() && !is_local_host(host) {
            return Err((StatusCode::FORBIDDEN, "ask by IP address or as localhost"));
        }
        Ok(())
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), AdminRefusal> {
        match &self.token {
            None if self.auth.is_required() => Err((
                StatusCode::FORBIDDEN,
                "where clients sign in this needs the admin token: set admin.token_file",
            )),
            None => Ok(()),
            Some(token) => {
                let given = header(headers, &AUTHORIZATION)
                    .and_then(|value| value.strip_prefix("Bearer "))
                    .unwrap_or("");
                verify_slices_are_equal(given.as_bytes(), token.expose_secret().as_bytes()).map_err(
                    |_| {
                        (
                            StatusCode::UNAUTHORIZED,
                            "the admin token is missing or wrong",
                        )
                    },
                )
            }
        }
    }
}

impl Admin {
    /// Counts a refusal, and writes it down in log and audit.
    fn record_refusal(&self, peer: &Peer, status: StatusCode, reason: &'static str) {
        self.metrics.admin_refused.inc();
        let conditions = &self.metrics.conditions;
        conditions.occurred(Condition::AdminTokenRefused, "admin", || {
            format!("{reason} (peer {peer})")
        });
        if let Some(audit) = &self.audit {
            let is_token = status == StatusCode::UNAUTHORIZED;
            audit.record_admin_refusal(peer, if is_token { "token" } else { "forbidden" });
        }
    }
}

/// A status, and the reason that goes with it.
type AdminRefusal = (StatusCode, &'static str);

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a Host is an IP address or `localhost`: names can be made to point here by others.
fn is_local_host(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(
        host,
        |(name, port)| if port.ends_with(']') { host } else { name },
    );
    name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_control_are_not_ours() {
        for host in [
            "127.0.0.1:9901",
            "localhost:9901",
            "localhost",
            "[::1]:9901",
            "[::1]",
            "10.1.2.3:1",
        ] {
            assert!(is_local_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "localhost.evil:1",
        ] {
            assert!(!is_local_host(host), "{host}");
        }
    }
}
