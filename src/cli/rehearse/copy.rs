//! Copy of the operator's settings that leads to nothing outside this process. Every section is named, so that a new
//! one does not compile before somebody has decided about it.

use std::net::SocketAddr;

use crate::cli::demo::any_port;
use crate::config::{self, Layers, Loaded, Settings, Shutdown};
use crate::credentials::SourceName;
use crate::observability::{audit, logging, traces};
use crate::units::HumanDuration;
use crate::{admin, auth, cache, credentials, gateway, server, shared_cache, upstream};

/// Remark that is printed before a rehearsal.
pub(super) const REPLACED: &str = "\
Rehearsing with a copy of the settings. Replaced: origin, credential, listeners, TLS, ttls. Off: authentication, writes, \
shared cache, snapshot, catalogue, audit, log, traces. Nothing real is called or written.";

/// Ttl of every image: as short as a rehearsal needs, and longer than one round of requests.
const TTL: HumanDuration = HumanDuration::millis(400);
/// Time after it in which an image is served while it is fetched again.
const STALE: HumanDuration = HumanDuration::millis(50);

/// Returns the copy, for a gateway on loopback in front of this origin. It has no file that could be read again.
///
/// # Errors
/// Defaults that cannot be used, which no test lets pass.
pub(super) fn isolate(own: &Settings, origin: SocketAddr) -> anyhow::Result<Loaded> {
    let mut copy = config::load(&Layers::new())?;
    copy.settings = Settings {
        listen: listen(&own.listen),
        admin: admin::Config {
            address: any_port().to_string(),
            unix: None,
            token_file: None,
        },
        observe: admin::ObserveConfig { address: None },
        upstream: upstream(&own.upstream, origin),
        credentials: credentials::Config {
            source: SourceName::Env,
            ..credentials::Config::default()
        },
        freshness: freshness(&own.freshness),
        cache: cache::Config {
            snapshot: None,
            ..own.cache.clone()
        },
        lists: own.lists.clone(),
        catalogue: cache::catalogue::Config::default(),
        shared_cache: shared_cache::Config::default(),
        api: gateway::Config {
            writes: false,
            ..own.api.clone()
        },
        resolve: own.resolve.clone(),
        auth: auth::Config::default(),
        audit: audit::Config {
            to: "off".to_owned(),
            ..audit::Config::default()
        },
        reload: config::reload::Config::default(),
        log: logging::Config::default(),
        traces: traces::Config::default(),
        shutdown: Shutdown {
            lame_duck: HumanDuration::secs(0),
            drain: HumanDuration::secs(1),
        },
    };
    Ok(copy)
}

fn listen(own: &server::Config) -> server::Config {
    server::Config {
        address: any_port().to_string(),
        unix: None,
        tls: server::TlsConfig::default(),
        ..own.clone()
    }
}

fn upstream(own: &upstream::Config, origin: SocketAddr) -> upstream::Config {
    upstream::Config {
        endpoint: Some(format!("http://{origin}")),
        allow_http: true,
        ca_file: None,
        proxy: None,
        proxy_credentials_file: None,
        ..own.clone()
    }
}

/// Shortens every ttl. The time that an image serves while the origin fails is the operator's own.
fn freshness(own: &cache::Policy) -> cache::Policy {
    cache::Policy {
        min: TTL,
        max: TTL,
        max_verbose: TTL,
        fallback: TTL,
        stale_while_revalidate_min: STALE,
        stale_while_revalidate_max: STALE,
        ..own.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Sets each text in a document to a path or address that must not survive.
    fn poison(value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(poison),
            Value::Null => *value = "real".into(),
            _ => {}
        }
    }

    #[test]
    fn no_path_address_or_secret_of_the_operator_is_left() {
        let mut document = serde_json::to_value(Settings::default()).unwrap();
        poison(&mut document);
        for (key, real) in [
            ("/listen/address", "real"),
            ("/admin/address", "real"),
            ("/auth/clients_file", "real"),
            ("/audit/to", "real"),
            ("/credentials/ecs_endpoint", "real"),
        ] {
            *document.pointer_mut(key).unwrap() = real.into();
        }
        let own: Settings = serde_json::from_value(document).unwrap();
        assert!(
            serde_json::to_string(&own)
                .unwrap()
                .matches("\"real\"")
                .count()
                > 20
        );
        let copy = isolate(&own, any_port()).unwrap();
        let left = serde_json::to_string(&copy.settings).unwrap();
        assert!(!left.contains("\"real\""), "{left}");
    }

    #[test]
    fn the_operators_windows_and_deadlines_stay() {
        let mut own = Settings::default();
        own.freshness.stale_if_error = HumanDuration::secs(7);
        own.api.wait = HumanDuration::secs(3);
        own.upstream.breaker_failures = 9;
        let copy = isolate(&own, any_port()).unwrap().settings;
        assert_eq!(copy.freshness.stale_if_error, own.freshness.stale_if_error);
        assert_eq!(copy.api.wait, own.api.wait);
        assert_eq!(copy.upstream.breaker_failures, 9);
    }
}
