//! The `[traces]` settings, and OpenTelemetry's own variables where they are silent.

use http::Uri;
use http::uri::Scheme;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::units::HumanDuration;

/// The `[traces]` settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The collector's base URL; spans go to its `/v1/traces`.
    pub endpoint: Option<String>,
    /// PEM file of roots to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Service name of the spans.
    pub service: Option<String>,
    /// Share of the requests without a `traceparent` that are traced, from 0 to 1.
    pub sample: f64,
    /// Sends a `traceparent` to the origin.
    pub forward: bool,
    /// Time between two exports of spans.
    pub interval: HumanDuration,
    /// Time for one export, answer included.
    pub timeout: HumanDuration,
    /// Number of spans that may wait to be exported; more are lost.
    pub max_queue: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca_file: None,
            service: None,
            sample: 0.01,
            forward: false,
            interval: HumanDuration::secs(1),
            timeout: HumanDuration::secs(2),
            max_queue: 4096,
        }
    }
}

impl Config {
    /// Returns true for an endpoint that is an http:// or https:// URL without user and query: a secret in it would be
    /// shown wherever settings are.
    #[must_use]
    pub fn is_endpoint_sound(&self) -> bool {
        self.endpoint.as_deref().is_none_or(is_sound)
    }

    /// Returns the service name by setting, variable or default; `None` if `OTEL_RESOURCE_ATTRIBUTES` sets it.
    pub(super) fn service_name(&self, environment: &Environment) -> Option<String> {
        let named = self
            .service
            .clone()
            .or_else(|| variable(environment, "OTEL_SERVICE_NAME").map(str::to_owned));
        let attributes = variable(environment, "OTEL_RESOURCE_ATTRIBUTES").unwrap_or("");
        let usual =
            (!attributes.contains("service.name=")).then(|| env!("CARGO_PKG_NAME").to_owned());
        named.or(usual)
    }
}

/// Returns the URL that spans are sent to: by the setting, else by OpenTelemetry's own variables; `None` for nowhere.
/// A variable that cannot be used is logged and ignored, because it may be meant for another program.
#[must_use]
pub fn collector(config: &Config, environment: &Environment) -> Option<String> {
    if let Some(base) = &config.endpoint {
        return Some(below(base));
    }
    let (name, url) = match variable(environment, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(url) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url.to_owned()),
        None => {
            let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
            (name, below(variable(environment, name)?))
        }
    };
    if !is_sound(&url) {
        tracing::warn!("{name} is no http:// or https:// URL: no traces are sent");
        return None;
    }
    Some(url)
}

fn below(base: &str) -> String {
    let base = base.trim_end_matches('/');
    format!("{}/v1/traces", base.trim_end_matches("/v1/traces"))
}

fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    let value = environment.get(name).map(String::as_str);
    value.filter(|value| !value.is_empty())
}

fn is_sound(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let is_http = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    let names_host = uri
        .authority()
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    is_http && names_host && uri.query().is_none()
}
