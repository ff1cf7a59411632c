//! Rules between settings, and between settings and this machine: files that exist, addresses that parse.
//!
//! Each rule names a key, whether it holds, and the remedy. [`check`] collects every broken one, so that an operator
//! mends a settings file in one pass.

mod catalogue;
mod credentials;
mod kubernetes;
mod listen;
mod resolve;
mod shared;
mod telemetry;

use std::fmt;
use std::fs::File;
use std::net::SocketAddr;

use super::Settings;
use crate::auth::{InvalidClients, Mode, check_clients};
use crate::server::Address;
use crate::transport::{InvalidProxy, Proxy};
use crate::upstream::{Origin, UpstreamKind};

/// One problem of the settings: printed as `key (origin): remedy`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Key of the setting, or the place in a file that cannot be parsed.
    pub key: String,
    /// Origin of the value, such as `variable PAI_GATEWAY__FRESHNESS__MAX`.
    pub source: String,
    /// Remedy in the imperative, without the offending value, which may be a secret.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(key: &str, source: &str, remedy: &str) -> Self {
        Self {
            key: key.to_owned(),
            source: source.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.source, self.remedy)
    }
}

/// Returns a problem for every broken rule; `source` gives the origin of a key's value.
pub(super) fn check(settings: &Settings, source: impl Fn(&str) -> String) -> Vec<Problem> {
    let mut broken = Vec::new();
    let mut rule = |key: &str, holds: bool, remedy: &str| {
        if !holds {
            broken.push(Problem::new(key, &source(key), remedy));
        }
    };
    listeners(settings, &mut rule);
    freshness(settings, &mut rule);
    upstream(settings, &mut rule);
    credentials::check(&settings.credentials, &mut rule);
    credentials::token(settings, &mut rule);
    rule(
        "cache.max_bytes",
        settings.cache.max_bytes.0 > 0,
        "write a size above 0, such as \"256MiB\"",
    );
    rule(
        "cache.snapshot",
        settings.cache.snapshot_has_a_place(),
        "name a file in a folder that is there and this user's alone",
    );
    rule(
        "cache.snapshot_interval",
        !settings.cache.snapshot_interval.0.is_zero(),
        "write a duration above 0, such as \"60s\"",
    );
    rule(
        "lists.max_bytes",
        settings.lists.max_bytes.0 > 0,
        "write a size above 0, such as \"32MiB\"; lists.ttl = \"0s\" turns the cache of lists off",
    );
    catalogue::check(&settings.catalogue, &mut rule);
    shared::check(&settings.shared_cache, &mut rule);
    listen::check(&settings.listen, &mut rule);
    resolve::check(&settings.resolve, &mut rule);
    rule(
        "resolve.max_answer",
        settings.resolve.max_answer <= settings.listen.max_buffered,
        "write at most what listen.max_buffered is, or raise that",
    );
    rule(
        "reload.interval",
        !settings.reload.interval.0.is_zero(),
        "write a duration above 0, such as \"5s\"",
    );
    telemetry::check(settings, &mut rule);
    broken
}

const ADDRESS_FORM: &str =
    "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:0\"";

/// Checks the addresses of the three listeners, and that none is open to other machines without authentication.
fn listeners(settings: &Settings, rule: &mut impl FnMut(&str, bool, &str)) {
    let listen = settings.listen.address();
    rule(
        "listen.unix_mode",
        u32::from_str_radix(&settings.listen.unix_mode, 8).is_ok_and(|mode| mode <= 0o777),
        "write three octal digits, such as \"0660\"",
    );
    rule(
        "listen.address",
        listen.is_some() || settings.listen.unix.is_some(),
        ADDRESS_FORM,
    );
    let local = listen.as_ref().is_none_or(Address::is_local);
    authentication(settings, rule);
    rule(
        "listen.address",
        settings.auth.mode != Mode::None || local,
        "with auth.mode = \"none\" everybody who reaches this address can read every image of the account: \
         write auth.mode = \"required\", or listen on 127.0.0.1, [::1] or a Unix socket (listen.unix)",
    );
    let admin = settings.admin.listener();
    rule("admin.address", admin.is_some(), ADDRESS_FORM);
    rule(
        "admin.token_file",
        admin.as_ref().is_none_or(Address::is_local) || settings.admin.token_file.is_some(),
        "beyond loopback the admin listener needs a token: name the file that holds it, or set admin.address = \"127.0.0.1:9901\"",
    );
    let observe = settings.observe.address.as_deref();
    rule(
        "observe.address",
        observe.is_none_or(|address| address.parse::<SocketAddr>().is_ok()),
        ADDRESS_FORM,
    );
    readable(
        "admin.token_file",
        settings.admin.token_file.as_deref(),
        rule,
    );
}

/// Checks clients, nonces and audit. Each problem of the clients file is a problem of its own.
fn authentication(settings: &Settings, rule: &mut impl FnMut(&str, bool, &str)) {
    let auth = &settings.auth;
    if auth.mode == Mode::Required
        && let Err(InvalidClients(problems)) = check_clients(auth)
    {
        for problem in problems {
            rule("auth.clients_file", false, &problem);
        }
    }
    kubernetes::check(&auth.kubernetes, rule);
    rule(
        "auth.nonces_per_client",
        auth.nonces_per_client > 0,
        "write a number above 0",
    );
    rule(
        "auth.nonces_max_bytes",
        auth.nonces_max_bytes.0 >= 1024,
        "write 1KiB or more",
    );
    rule(
        "audit.hits",
        (0.0..=1.0).contains(&settings.audit.hits),
        "write a share from 0 to 1, such as 0.001",
    );
    rule(
        "audit.to",
        !settings.audit.to.is_empty(),
        "write stdout, stderr, off or a file's path",
    );
}

/// Checks that shares are shares and that no maximum lies below its minimum.
fn freshness(settings: &Settings, rule: &mut impl FnMut(&str, bool, &str)) {
    let freshness = &settings.freshness;
    rule(
        "freshness.factor",
        (0.0..=100.0).contains(&freshness.factor),
        "write a share from 0 to 100, such as 0.10",
    );
    rule(
        "freshness.jitter",
        (0.0..1.0).contains(&freshness.jitter),
        "write a share from 0 up to but not 1, such as 0.10",
    );
    rule(
        "freshness.max",
        freshness.max >= freshness.min,
        "write at least freshness.min",
    );
    rule(
        "freshness.max_verbose",
        freshness.max_verbose >= freshness.min,
        "write at least freshness.min",
    );
    rule(
        "freshness.stale_while_revalidate_max",
        freshness.stale_while_revalidate_max >= freshness.stale_while_revalidate_min,
        "write at least freshness.stale_while_revalidate_min",
    );
}

/// Checks that the quotas are numbers of calls, and the share a share.
fn pace(settings: &Settings, rule: &mut impl FnMut(&str, bool, &str)) {
    let upstream = &settings.upstream;
    for (name, quota) in upstream.calls_per_second.by_name() {
        rule(
            &format!("upstream.calls_per_second.{name}"),
            (0.0..=100_000.0).contains(&quota),
            "write a number of calls from 0, for no limit, to 100000",
        );
    }
    rule(
        "upstream.rate_share",
        upstream.rate_share > 0.0 && upstream.rate_share <= 1.0,
        "write a part above 0 and up to 1, such as 0.25 for each of four gateways",
    );
}

/// Checks the origin's address, the order of its deadlines, and bounds of retries and breaker.
fn upstream(settings: &Settings, rule: &mut impl FnMut(&str, bool, &str)) {
    let upstream = &settings.upstream;
    rule(
        "upstream.endpoint",
        upstream.kind == UpstreamKind::Api || upstream.endpoint.is_some(),
        "with upstream.kind = \"gateway\" name the parent gateway's host, such as \"https://pai-gateway.example\"",
    );
    if let Err(error) = Origin::from_config(upstream) {
        let key = if upstream.endpoint.is_some() {
            "upstream.endpoint"
        } else {
            "upstream.region"
        };
        rule(key, false, &error.to_string());
    }
    rule(
        "upstream.attempt_timeout",
        upstream.attempt_timeout <= upstream.deadline,
        "write at most upstream.deadline",
    );
    pace(settings, rule);
    rule(
        "upstream.max_in_flight",
        upstream.max_in_flight > 0,
        "write a number above 0",
    );
    rule(
        "upstream.breaker_failures",
        upstream.breaker_failures > 0,
        "write a number above 0",
    );
    rule(
        "upstream.breaker_max_pause",
        upstream.breaker_max_pause >= upstream.breaker_pause,
        "write at least upstream.breaker_pause",
    );
    rule(
        "upstream.retry_percent",
        upstream.retry_percent <= 100,
        "write a number from 0 to 100",
    );
    rule(
        "upstream.max_body",
        upstream.max_body.0 >= 1024,
        "write at least \"1KiB\"",
    );
    readable("upstream.ca_file", upstream.ca_file.as_deref(), rule);
    proxy(
        "upstream",
        upstream.proxy.as_deref(),
        upstream.proxy_credentials_file.as_deref(),
        rule,
    );
}

/// Checks the proxy of a section. User and password belong in a file of their own, never in the proxy's address,
/// which logs and `config` show.
fn proxy(
    section: &str,
    proxy: Option<&str>,
    credentials_file: Option<&str>,
    rule: &mut impl FnMut(&str, bool, &str),
) {
    if let Some(Err(InvalidProxy(remedy))) = proxy.map(Proxy::check) {
        rule(&format!("{section}.proxy"), false, remedy);
    }
    let key = format!("{section}.proxy_credentials_file");
    rule(
        &key,
        credentials_file.is_none() || proxy.is_some(),
        &format!("it belongs to {section}.proxy: set that too"),
    );
    readable(&key, credentials_file, rule);
}

/// Checks that a setting, if present, names a regular file that this user may read.
fn readable(key: &str, path: Option<&str>, rule: &mut impl FnMut(&str, bool, &str)) {
    let Some(path) = path else { return };
    if let Err(error) = File::open(path)
        .and_then(|file| file.metadata())
        .and_then(|metadata| {
            if metadata.is_file() {
                Ok(())
            } else {
                Err(std::io::Error::other("not a file"))
            }
        })
    {
        rule(
            key,
            false,
            &format!(
                "the file it names cannot be read ({error}): name one that this user may read"
            ),
        );
    }
}

/// Returns the keys whose rules a check finds broken, without a prefix.
#[cfg(test)]
fn broken_keys(prefix: &str, check: impl FnOnce(&mut dyn FnMut(&str, bool, &str))) -> Vec<String> {
    let mut keys = Vec::new();
    check(&mut |key: &str, holds, _: &str| {
        if !holds {
            keys.push(key.trim_start_matches(prefix).to_owned());
        }
    });
    keys
}
