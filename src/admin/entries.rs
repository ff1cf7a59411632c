//! `GET /entries/{ImageId}`: the cache entries of an image, and the reasons for their ttl. `GET /entries`: the
//! lists in memory.

use std::time::Duration;

use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Admin, as_json, error};
use crate::api::{ImageId, ImageKey};
use crate::body::Body;
use crate::cache::explain::{Explanation, wall};
use crate::cache::lists::HeldList;
use crate::cache::{Entry, Freshness, LookupResult, Negative, NegativeKind, Policy};

/// Lists that `GET /entries` shows.
const MOST_LISTS: usize = 100;

impl Admin {
    /// Returns the lists that were used last, and the number of all.
    pub(super) fn held_lists(&self) -> Value {
        let now = Instant::now();
        let lists = self.cache.held_lists(MOST_LISTS, now);
        let lists: Vec<Value> = lists.iter().map(|held| self.list(held, now)).collect();
        json!({ "lists": lists, "held": self.cache.list_usage().pages })
    }

    fn list(
        &self,
        HeldList {
            key,
            page,
            freshness,
        }: &HeldList,
        now: Instant,
    ) -> Value {
        let config = self.cache.list_config();
        let (age, resident) = (page.age(now), page.resident_time(now));
        let ago = |span: Duration| Timestamp::now().checked_sub(span).unwrap_or_default();
        let explanation = match freshness {
            Freshness::Fresh => "It is served as it is.",
            Freshness::StaleWhileRevalidate => "It is served while it is fetched again.",
            Freshness::StaleIfError if page.purged => {
                "It was purged softly: it serves only while the origin fails."
            }
            Freshness::StaleIfError => "It serves only while the origin fails.",
            Freshness::Expired => "It is not served any more.",
        };
        json!({
            "operation": key.action.as_str(),
            "query": &*key.query,
            "state": match freshness {
                Freshness::Fresh => "fresh",
                Freshness::StaleWhileRevalidate | Freshness::StaleIfError => "stale",
                Freshness::Expired => "absent",
            },
            "bytes": page.body.len(),
            "stored_at": wall(ago(resident.saturating_sub(page.took)), Duration::ZERO),
            "age_seconds": age.as_secs(),
            "ttl_seconds": page.ttl.as_secs(),
            "fresh_until": wall(ago(age), page.ttl),
            "stale_until": wall(ago(age), page.ttl + config.stale_if_error.0),
            "explanation": explanation,
        })
    }

    pub(super) fn entries(&self, id: &str) -> Response<Body> {
        let Ok(image) = ImageId::parse(id) else {
            return error(StatusCode::BAD_REQUEST, "this is no ImageId");
        };
        let variants: Vec<Value> = ImageKey::variants(&image)
            .iter()
            .map(|key| self.variant(key))
            .collect();
        as_json(&json!({ "ImageId": id, "variants": variants }))
    }

    fn variant(&self, key: &ImageKey) -> Value {
        let (now, policy) = (Instant::now(), &*self.cache.policy());
        let failure = self
            .cache
            .last_failure(key)
            .map(|error| error.result().as_str());
        let mut variant = match self.cache.look_up(key, now) {
            LookupResult::Image(entry, freshness) => image(&entry, freshness, policy, now),
            LookupResult::Negative(negative) => no(&negative, policy, now),
            LookupResult::Miss => {
                json!({ "state": "absent", "explanation": "Nothing is held; the next request fetches it." })
            }
        };
        variant["verbose"] = key.verbose.into();
        if failure.is_some() || variant["last_result"].is_null() {
            variant["last_result"] = failure.into();
        }
        variant
    }
}

fn image(entry: &Entry, freshness: Freshness, policy: &Policy, now: Instant) -> Value {
    let evidence = entry.evidence();
    let Explanation {
        decision,
        stale_if_error,
        mut text,
        ..
    } = Explanation::new(policy, &evidence);
    let lived = entry.age(now);
    let ago = |span: Duration| Timestamp::now().checked_sub(span).unwrap_or_default();
    let held = entry.resident_time(now);
    let (sent_at, asked_at) = (ago(lived), ago(held));
    let received = ago(held.saturating_sub(entry.took()));
    if entry.purged {
        text.push_str(" It was purged softly: it serves only while the origin fails.");
    } else if entry.restored {
        text.push_str(
            " It was restored from the snapshot of an earlier run: it counts as stale until it is fetched again.",
        );
    } else if entry.ttl().as_millis() < decision.ttl.as_millis() {
        text.push_str(" The id named another object before, so it has the shortest ttl.");
    }
    let catalogue = renewal(entry);
    if let Some((_, sentence)) = catalogue {
        text.push_str(sentence);
    }
    json!({
        "state": if freshness == Freshness::Fresh { "fresh" } else { "stale" },
        "stored_at": wall(received, Duration::ZERO),
        "age_seconds": lived.as_secs(),
        "gmt_modified": evidence.modified.map(|time| time.to_string()),
        "gmt_created": evidence.created.map(|time| time.to_string()),
        "quiet_seconds": decision.quiet.map(|quiet| quiet.as_secs()),
        "base_seconds": decision.base.as_secs(),
        "source": decision.source.as_str(),
        "ceiling_seconds": decision.ceiling.as_secs(),
        "jitter": decision.jitter,
        "ttl_seconds": entry.ttl().as_secs(),
        "fresh_until": wall(asked_at, entry.fresh_for()),
        "stale_until": wall(sent_at, entry.ttl() + stale_if_error),
        "last_result": "ok",
        "catalogue": catalogue.map(|(part, _)| part),
        "explanation": text,
    })
}

/// Returns the catalogue's part in an entry, and explains it.
fn renewal(entry: &Entry) -> Option<(&'static str, &'static str)> {
    if entry.is_listed() {
        Some((
            "answered",
            " It was made from the catalogue's item, whose page keeps it fresh until the next walk.",
        ))
    } else if entry.is_bound() {
        Some((
            "renewed",
            " It agrees with the catalogue's item: each page that shows the item unchanged renews it until the next walk.",
        ))
    } else {
        None
    }
}

fn no(negative: &Negative, policy: &Policy, now: Instant) -> Value {
    let ttl = negative.ttl(policy);
    let (result, says) = match negative.kind {
        NegativeKind::NotFound => ("not_found", "that there is no such image"),
        NegativeKind::Forbidden => (
            "forbidden",
            "that the gateway's credential may not see the image",
        ),
    };
    json!({
        "state": "negative",
        "stored_at": wall(negative.received, Duration::ZERO),
        "age_seconds": negative.age(now).as_secs(),
        "ttl_seconds": ttl.as_secs(),
        "fresh_until": wall(negative.received, ttl),
        "last_result": result,
        "explanation": format!("The origin said {says}; that is kept for {}.", crate::units::HumanDuration(ttl)),
    })
}
