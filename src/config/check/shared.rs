//! Rules of the `[shared_cache]` settings: the URL, the timeouts, and TLS files that belong together.

use std::time::Duration;

use super::readable;
use crate::shared_cache::Config;

/// Checks the section: the URL, bounds of times, and files of TLS that belong together.
pub(super) fn check(shared: &Config, rule: &mut impl FnMut(&str, bool, &str)) {
    if let Err(bad) = shared.check_url() {
        rule("shared_cache.url", false, bad.remedy());
    }
    rule(
        "shared_cache.prefix",
        shared.prefix_is_plain(),
        "write up to 64 letters, digits and any of - _ . : /",
    );
    let seconds = |key: &str, span: Duration, rule: &mut dyn FnMut(&str, bool, &str)| {
        let sound = (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&span);
        rule(key, sound, "write a duration from \"1ms\" to \"60s\"");
    };
    seconds("shared_cache.timeout", shared.timeout.0, rule);
    seconds(
        "shared_cache.connect_timeout",
        shared.connect_timeout.0,
        rule,
    );
    rule(
        "shared_cache.lease",
        shared.lease.0 >= shared.timeout.0 * 5 && shared.lease.0 <= Duration::from_secs(60),
        "write at least five times shared_cache.timeout, for it is renewed at a third, and at most \"60s\"",
    );
    rule(
        "shared_cache.breaker_failures",
        shared.breaker_failures > 0,
        "write a number above 0",
    );
    rule(
        "shared_cache.breaker_max_pause",
        shared.breaker_max_pause >= shared.breaker_pause,
        "write at least shared_cache.breaker_pause",
    );
    rule(
        "shared_cache.cert_file",
        shared.cert_file.is_some() == shared.key_file.is_some(),
        "name shared_cache.cert_file and shared_cache.key_file, or neither",
    );
    for (key, path) in [
        ("shared_cache.password_file", &shared.password_file),
        ("shared_cache.ca_file", &shared.ca_file),
        ("shared_cache.cert_file", &shared.cert_file),
        ("shared_cache.key_file", &shared.key_file),
    ] {
        readable(key, path.as_deref(), rule);
    }
}
