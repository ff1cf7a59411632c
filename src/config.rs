//! Settings of the gateway: defaults, then the file, the environment and the flags, each overriding the one before.
//!
//! Each part owns its section; this module gathers and checks them. All problems are reported at once, each with
//! its key, the origin of its value and the remedy. A value is never quoted: it may be a secret in the wrong
//! place.

mod changes;
mod check;
mod example;
mod layers;
mod page;
pub mod ram_policy;
pub mod reload;
mod sources;

pub use changes::Changes;
pub use check::Problem;
pub use layers::Layers;
pub use page::{page, schema};
pub use sources::SettingsSources;

use std::fmt::Write as _;
use std::time::Duration;

use figment::Figment;
use figment::providers::Serialized;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observability::{audit, logging, traces};
use crate::units::HumanDuration;
use crate::{admin, auth, cache, credentials, gateway, server, shared_cache, upstream};

/// Every setting, one field for each section; the example file config/gateway.toml explains them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Data port, where clients connect: its address, TLS, and bounds on connections and memory.
    pub listen: server::Config,
    /// Admin listener: probes, metrics, status, purge and the status page.
    pub admin: admin::Config,
    /// Listener with probes and metrics only, for a kubelet and Prometheus, which reach the pod's address.
    pub observe: admin::ObserveConfig,
    /// Origin: its address, deadlines, retries, breaker and quota.
    pub upstream: upstream::Config,
    /// Central credential, which signs every request to the origin: its source and its renewal.
    pub credentials: credentials::Config,
    /// Time for which a cached response is fresh, and may be served stale.
    pub freshness: cache::Policy,
    /// Memory of the cache, and its snapshot for the next start.
    pub cache: cache::Config,
    /// Cache of lists, which replicas do not share.
    pub lists: cache::lists::Config,
    /// Catalogue: lists of workspaces that renew images fifty at a time.
    pub catalogue: cache::catalogue::Config,
    /// Cache in Redis or Valkey that the replicas of a fleet share.
    pub shared_cache: shared_cache::Config,
    /// Operations that the data port offers, and the time that their requests wait.
    pub api: gateway::Config,
    /// Resolve: requests for many images at once.
    pub resolve: gateway::ResolveConfig,
    /// Authentication of clients, and the nonces that protect their requests from being replayed.
    pub auth: auth::Config,
    /// Audit records of requests, denials and purges.
    pub audit: audit::Config,
    /// Reload of files that change while the gateway runs.
    pub reload: reload::Config,
    /// Log: its level, format and the access log.
    pub log: logging::Config,
    /// Traces, exported by OTLP over HTTP.
    pub traces: traces::Config,
    /// Times of a stop: still accepting, then draining.
    pub shutdown: Shutdown,
}

/// The `[shutdown]` settings: the two periods of a stop, which follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Time that requests are still accepted after readiness has fallen.
    pub lame_duck: HumanDuration,
    /// Time that connections get to finish after `lame_duck`.
    pub drain: HumanDuration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            lame_duck: HumanDuration::secs(5),
            drain: HumanDuration::secs(20),
        }
    }
}

impl Shutdown {
    /// Returns the longest time that a stop takes: lame duck and drain, one after the other.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.lame_duck.0 + self.drain.0
    }
}

/// Valid settings, with the origin of each value, for `config` and for reloads.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Effective settings: the defaults with every layer applied.
    pub settings: Settings,
    figment: Figment,
    sources: SettingsSources,
}

/// Every problem of the settings, sorted by key; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(problems) = self;
        writeln!(
            f,
            "{} setting{} cannot be used:",
            problems.len(),
            if problems.len() == 1 { "" } else { "s" }
        )?;
        problems
            .iter()
            .try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Merges the layers over the defaults and checks the result.
///
/// # Errors
/// [`Problems`] with every problem, also where several values are wrong at once.
pub fn load(layers: &Layers) -> Result<Loaded, Problems> {
    let mut problems = layers.problems.clone();
    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    for leaf in &layers.leaves {
        // Each value is tried alone over the defaults: figment reports only the first error of a whole.
        match leaf.try_alone() {
            Ok(()) => figment = figment.merge(leaf),
            Err(problem) => problems.push(problem),
        }
    }
    match figment.extract::<Settings>() {
        Err(error) => problems.push(Problem::new(
            &error.path.join("."),
            "the settings together",
            "see the other problems",
        )),
        Ok(settings) => {
            problems.extend(check::check(&settings, |key| source(&figment, key)));
            if problems.is_empty() {
                return Ok(Loaded {
                    settings,
                    figment,
                    sources: SettingsSources::default(),
                });
            }
        }
    }
    problems.sort();
    Err(Problems(problems))
}

/// Returns the origin of a setting, such as `file gateway.toml`, or `default`.
fn source(figment: &Figment, key: &str) -> String {
    match figment.find_metadata(key) {
        Some(metadata) if metadata.name.starts_with(layers::SOURCE_PREFIX) => metadata
            .name
            .trim_start_matches(layers::SOURCE_PREFIX)
            .to_owned(),
        _ => "default".to_owned(),
    }
}

impl Loaded {
    /// Prints the settings as TOML; each line that is not a default ends with a comment that names its origin.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(&self.settings).expect("settings are tables of plain values");
        let mut annotated = String::with_capacity(text.len() * 2);
        let mut section = String::new();
        for line in text.lines() {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = format!("{name}.");
            }
            let key = line
                .split_once(" = ")
                .map(|(name, _)| format!("{section}{name}"));
            let origin = key
                .map(|key| source(&self.figment, &key))
                .filter(|origin| origin != "default");
            // Writing to a String cannot fail.
            let _ = match origin {
                Some(origin) => writeln!(annotated, "{line}  # from {origin}"),
                None => writeln!(annotated, "{line}"),
            };
        }
        annotated
    }
}

#[cfg(test)]
mod tests;
