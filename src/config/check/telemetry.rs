//! Rules of the `[log]` and `[traces]` settings: a filter that parses, shares from 0 to 1, the collector's URL.

use super::readable;
use crate::config::Settings;

const SHARE: &str = "write a share from 0 to 1, such as 0.01";

/// Checks both sections: the log's filter parses, shares lie in 0 to 1, and the collector's URL has no secrets.
pub(super) fn check(settings: &Settings, rule: &mut impl FnMut(&str, bool, &str)) {
    let (log, traces) = (&settings.log, &settings.traces);
    if let Err(error) = log.filter() {
        let remedy = format!("write error, warn, info, debug or trace: {error}");
        rule("log.level", false, &remedy);
    }
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    rule("log.access_hits", is_share(log.access_hits), SHARE);
    rule("traces.sample", is_share(traces.sample), SHARE);
    rule(
        "traces.endpoint",
        traces.is_endpoint_sound(),
        "write the collector's http:// or https:// URL, such as \"http://127.0.0.1:4318\", without user or query: \
         headers that it requires belong into OTEL_EXPORTER_OTLP_HEADERS",
    );
    readable("traces.ca_file", traces.ca_file.as_deref(), rule);
    for (key, span) in [
        ("traces.interval", traces.interval),
        ("traces.timeout", traces.timeout),
    ] {
        rule(
            key,
            !span.0.is_zero(),
            "write a duration above 0, such as \"2s\"",
        );
    }
    rule(
        "traces.max_queue",
        (1..=1_000_000).contains(&traces.max_queue),
        "write a number from 1 to 1000000",
    );
}
