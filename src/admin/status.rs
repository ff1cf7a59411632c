//! `GET /status`: the state of the gateway as JSON, for people and scripts.

mod latencies;
mod stale_until;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Admin;
use crate::api::Action;
use crate::observability::metrics::{Metrics, SHORTEST_LATENCY};
use crate::observability::outcome::{CallResult, Outcome, StaleReason};
use crate::observability::top_images::{HALF_LIFE, TopImages};
use crate::upstream::Upstream;

/// Number of the most requested images that `/status` lists.
const TOP_IMAGES: usize = 20;
/// Number of the busiest clients that `/status` lists.
const CLIENTS: usize = 10;

impl Admin {
    pub(super) fn status(&self) -> Value {
        let (metrics, now, time) = (&self.metrics, Instant::now(), Timestamp::now());
        let conditions = metrics.conditions.ongoing(now, time);
        let stale_until = (!conditions.is_empty()).then(|| self.stale_until(now, time));
        let upstream: Map<String, Value> = CallResult::ALL
            .iter()
            .zip(metrics.upstream_requests())
            .map(|(result, count)| (result.as_str().to_owned(), count.into()))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "time": time.to_string(),
            "instance": self.instance,
            "uptime_seconds": self.started.elapsed().as_secs(),
            "ready": self.health.readiness(&self.credentials, &self.auth).is_ok(),
            "listen": self.listening,
            "conditions": conditions,
            "stale_until": stale_until,
            "requests": requests(metrics),
            "stale": stale(metrics),
            "hit_ratio": hit_ratio(metrics.requests(Some(Action::GetImage))),
            "latency_seconds": latencies::since_the_start(metrics),
            "latency_floor_seconds": SHORTEST_LATENCY,
            "recent": latencies::recent(&self.history),
            "upstream": { "requests": upstream, "in_flight": metrics.upstream_in_flight.get(), "breaker": self.upstream.breaker(), "operations": operations(&self.upstream) },
            "recent_errors": self.upstream.recent_errors(),
            "connections": metrics.listener("data").open.get(),
            "clients": clients(metrics),
            "refusals": {
                "authentication": metrics.authentication_refusals(),
                "connections": metrics.connection_refusals(),
                "admin": metrics.admin_refused.get(),
            },
            "certificate": certificate(metrics),
            "top_images": top_images(&self.top_images),
            "top_images_estimate": { "half_life_seconds": HALF_LIFE.as_secs(), "one_in": self.top_images.one_in() },
            "cache": self.cache.usage(),
            "lists": self.cache.list_usage(),
            "catalogue": self.catalogue(),
            "credential": self.credentials.status(),
            "shared_cache": self.shared.as_ref().map(|shared| shared.status()),
        })
    }
}

impl Admin {
    /// Returns the catalogue's state and what its items have done since the start; null if it is off.
    fn catalogue(&self) -> Value {
        let Some(status) = self.cache.catalogue_status() else {
            return Value::Null;
        };
        let metrics = &self.metrics.catalogue;
        let mut catalogue = json!(status);
        for (name, counter) in [
            ("pages", &metrics.pages),
            ("renewed", &metrics.renewed),
            ("changed", &metrics.changed),
            ("answered", &metrics.answered),
        ] {
            catalogue[name] = counter.get().into();
        }
        catalogue
    }
}

fn requests(metrics: &Metrics) -> Map<String, Value> {
    let counts = Outcome::ALL.iter().zip(metrics.requests(None));
    counts
        .map(|(outcome, count)| (outcome.as_str().to_owned(), count.into()))
        .collect()
}

fn stale(metrics: &Metrics) -> Map<String, Value> {
    let counts = StaleReason::ALL.map(|reason| (reason, metrics.stale_answers.of(reason).get()));
    let named = counts.into_iter();
    named
        .map(|(reason, count)| (reason.as_str().to_owned(), count.into()))
        .collect()
}

fn clients(metrics: &Metrics) -> Value {
    let (seen, busiest) = metrics.clients(CLIENTS);
    json!({ "seen": seen, "busiest": busiest })
}

/// Returns the expiry of the data port's certificate; null without TLS.
fn certificate(metrics: &Metrics) -> Value {
    let expires = metrics.certificate_expires().map(|seconds| seconds as i64);
    let expires = expires.and_then(|seconds| Timestamp::from_second(seconds).ok());
    expires.map_or(
        Value::Null,
        |time| json!({ "expires_at": time.to_string() }),
    )
}

fn operations(upstream: &Upstream) -> Map<String, Value> {
    let operations = upstream.operations().into_iter();
    operations
        .map(|(action, status)| (action.as_str().to_owned(), json!(status)))
        .collect()
}

fn top_images(top_images: &TopImages) -> Vec<Value> {
    let top = top_images.top(TOP_IMAGES, Instant::now());
    top.iter()
        .map(|ranked| json!({ "ImageId": ranked.image.as_str(), "requests": ranked.requests }))
        .collect()
}

/// Share of GetImage answers that memory gave, among those that were neither rejected nor denied.
fn hit_ratio(counts: [u64; Outcome::ALL.len()]) -> Option<f64> {
    let (mut from_memory, mut all) = (0, 0);
    for (outcome, count) in Outcome::ALL.into_iter().zip(counts) {
        if !matches!(outcome, Outcome::Rejected | Outcome::Denied) {
            all += count;
            from_memory += if outcome.is_from_memory() { count } else { 0 };
        }
    }
    (all > 0).then(|| from_memory as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_ratio_leaves_out_rejected_requests() {
        let mut counts = [0; Outcome::ALL.len()];
        counts[Outcome::Rejected as usize] = 100;
        counts[Outcome::Denied as usize] = 100;
        assert_eq!(hit_ratio(counts), None);
        for outcome in [
            Outcome::Hit,
            Outcome::Stale,
            Outcome::Coalesced,
            Outcome::Negative,
            Outcome::Miss,
        ] {
            counts[outcome as usize] = 1;
        }
        assert_eq!(hit_ratio(counts), Some(0.8));
    }
}
