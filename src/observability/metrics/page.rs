//! docs/metrics.md, made from the declarations.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Metrics;
use super::register::{Metric, MetricDescription, MetricSpec};

const HEAD: &str = "# Metrics

Generated from the declarations in `src/observability/metrics`; do not edit. `pai-image-gateway docs metrics` prints this page, a test holds it against the declarations, and `.ci/check-observability` holds it against what a gateway exposes.

A series of a labelled metric is exposed from its first use, and a metric of a part that is switched off not at all; counters that alerts take rates of begin at 0. A histogram `X` is the series `X_bucket`, with a label `le`, `X_sum` and `X_count`. Labels come from enums and from the operator's files, never from a request. `/metrics` is compressed for a scraper that sends `Accept-Encoding: gzip`. [deploy/alerts.yaml](../deploy/alerts.yaml) alerts on them, [deploy/dashboards/gateway.json](../deploy/dashboards/gateway.json) draws them, [operations.md](operations.md) says what to do.

| metric | type | labels | description |
|---|---|---|---|
";

impl Metrics {
    /// docs/metrics.md: every metric that this build can expose.
    #[must_use]
    pub fn page() -> String {
        let described = described();
        let mut page = HEAD.to_owned();
        for metric in &described {
            let names: Vec<_> = metric.labels.iter().map(|(name, _)| *name).collect();
            row(&mut page, metric.name, metric.kind, &names, metric.help);
        }
        page.push_str("\n## Labels\n\n| label | values |\n|---|---|\n");
        for (name, by_values) in labels(&described) {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "| `{name}` | {} |", values(&by_values));
        }
        page
    }
}

/// Every declared metric, by name.
fn described() -> Vec<MetricDescription> {
    let mut described = Vec::new();
    let group = MetricSpec {
        name: "",
        doc: "",
        at_zero: false,
    };
    Metrics::describe(group, &mut described);
    described.sort_by_key(|metric| metric.name);
    described
}

fn row(page: &mut String, name: &str, kind: &str, labels: &[&str], help: &str) {
    let quoted: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = quoted.join(", ");
    let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {help} |");
}

/// Each label's lists of values, and the metrics in which it has them.
type ByValues<'a> = BTreeMap<&'a str, Vec<&'static str>>;

fn labels(described: &[MetricDescription]) -> BTreeMap<&'static str, ByValues<'_>> {
    let mut labels: BTreeMap<_, ByValues<'_>> = BTreeMap::new();
    for metric in described {
        for (label, values) in &metric.labels {
            let short = metric.name.trim_start_matches("pai_gateway_");
            let by_values = labels.entry(*label).or_default();
            by_values.entry(values).or_default().push(short);
        }
    }
    labels
}

/// The values, with their metrics where they differ between metrics.
fn values(by_values: &ByValues<'_>) -> String {
    let lists: Vec<_> = match by_values.len() {
        1 => by_values
            .keys()
            .map(|values| (*values).to_owned())
            .collect(),
        _ => by_values
            .iter()
            .map(|(values, metrics)| format!("{values} ({})", metrics.join(", ")))
            .collect(),
    };
    lists.join("; ")
}
