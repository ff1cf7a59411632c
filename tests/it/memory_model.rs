//! Shipped memory limits cover the worst case of the settings that are shipped with them, by the
//! costs that `benches/memory` measured last, listed in SECURITY.md.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

const MIB: f64 = (1 << 20) as f64;
/// The queues of the log and of the audit, in bytes.
const QUEUES: f64 = 5.0 * MIB;
const CLIENTS: f64 = 1_000.0;
/// Bytes that the table of nonces counts for each.
const NONCE: f64 = 104.0;

type Costs = BTreeMap<String, f64>;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rows of SECURITY.md's tables that `benches/memory` wrote, as cells.
fn rows() -> Vec<Vec<String>> {
    let text = file("SECURITY.md");
    let (_, text) = text.split_once("<!-- made by benches/memory -->").unwrap();
    let (text, _) = text.split_once("<!-- to here -->").unwrap();
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().trim_matches('*').replace(',', ""))
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with("| "))
        .map(cells)
        .collect()
}

fn costs() -> Costs {
    let pairs = rows().into_iter().filter(|row| row.len() == 2);
    let costs: Costs = pairs
        .filter_map(|row| Some((row[0].clone(), row[1].parse().ok()?)))
        .collect();
    assert!(costs.len() > 10, "{costs:?}");
    costs
}

/// Settings of these files, later ones over earlier ones; the first is the one with every default.
fn settings(files: &[&str]) -> Table {
    let mut merged = Table::new();
    for name in ["config/gateway.toml"].iter().chain(files) {
        for (key, value) in file(name).parse::<Table>().unwrap() {
            let table = merged
                .entry(key)
                .or_insert_with(|| Value::Table(Table::new()));
            let (Value::Table(table), Value::Table(more)) = (table, value) else {
                panic!("a setting outside of a table in {name}");
            };
            table.extend(more);
        }
    }
    merged
}

fn bytes(text: &str) -> f64 {
    let at = text.find(|letter: char| letter.is_alphabetic()).unwrap();
    let unit = match &text[at..] {
        "Ki" | "KiB" => 1024.0,
        "Mi" | "MiB" | "M" => MIB,
        "Gi" | "GiB" => 1024.0 * MIB,
        other => panic!("{other} in {text}"),
    };
    text[..at].parse::<f64>().unwrap() * unit
}

/// Bytes of the sum of all parts, each at its bound.
fn worst(costs: &Costs, settings: &Table) -> f64 {
    let cost = |name: &str| costs[name];
    let number = |table: &str, key: &str| settings[table][key].as_integer().unwrap() as f64;
    let size = |table: &str, key: &str| bytes(settings[table][key].as_str().unwrap());
    let encrypted = settings["listen"]["tls"].get("cert_file").is_some();
    let dearest = costs
        .iter()
        .filter(|(name, _)| match encrypted {
            true => name.starts_with("TLS connection") || name.starts_with("HTTP/2 connection"),
            false => name.starts_with("HTTP/1.1 connection"),
        })
        .map(|(_, cost)| *cost)
        .fold(0.0, f64::max);
    let guarded = f64::from(u8::from(
        settings["auth"]["mode"].as_str() == Some("required"),
    ));
    let nonces = size("auth", "nonces_max_bytes") * (cost("nonce") / NONCE).max(1.0);
    cost("program")
        + number("listen", "max_connections") * dearest
        + number("listen", "max_in_flight") * cost("request that waits")
        + number("upstream", "max_in_flight") * cost("call to the origin")
        + size("listen", "max_buffered")
        + size("cache", "max_bytes") * cost("byte of cache.max_bytes")
        + size("lists", "max_bytes")
        + number("cache", "max_negative") * cost("cached image of 626 bytes")
        + guarded * (nonces + CLIENTS * cost("client"))
        + QUEUES
}

/// The setting of this name in YAML or a systemd unit.
fn named<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find_map(|line| line.strip_prefix(name))
}

/// Limit of memory of the first container in a manifest or in values of the chart.
fn limit(text: &str) -> Option<f64> {
    let (_, limits) = text.split_once("limits:")?;
    named(limits, "memory: ").map(bytes)
}

const SHARED: &str = "deploy/kubernetes/shared/base/gateway.toml";

#[track_caller]
fn fits(name: &str, worst: f64, limit: Option<f64>) {
    let limit = limit.unwrap_or_else(|| panic!("{name} has no limit"));
    assert!(
        worst <= limit,
        "{name} needs {:.0} of {:.0} MiB",
        worst / MIB,
        limit / MIB
    );
}

#[test]
fn the_worst_case_fits_the_limit_of_each_manifest() {
    let kubernetes = "deploy/kubernetes";
    let costs = costs();
    for (manifest, files) in [
        ("shared/base/deployment.yaml", "shared/base/gateway.toml"),
        ("shared/base/deployment.yaml", "shared/example/gateway.toml"),
        (
            "sidecar/component/sidecar.yaml",
            "sidecar/settings/gateway.toml",
        ),
        (
            "sidecar/component/sidecar.yaml",
            "sidecar/example-parent/gateway.toml",
        ),
    ] {
        let settings = settings(&[&format!("{kubernetes}/{files}")]);
        let text = file(&format!("{kubernetes}/{manifest}"));
        fits(files, worst(&costs, &settings), limit(&text));
    }
}

#[test]
fn the_worst_case_fits_the_limit_of_the_chart_and_of_the_unit() {
    let costs = costs();
    let chart = "deploy/helm/pai-image-gateway";
    let usual = file(&format!("{chart}/values.yaml"));
    fits(
        "the chart",
        worst(&costs, &settings(&[SHARED])),
        limit(&usual),
    );
    for values in
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(chart).join("ci")).unwrap()
    {
        let path = values.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut settings = settings(&[SHARED]);
        if let Some(size) = named(&text, "max_bytes: ") {
            settings["cache"]["max_bytes"] = Value::String(size.to_owned());
        }
        for key in ["max_connections", "max_in_flight"] {
            if let Some(most) = named(&text, &format!("{key}: ")) {
                settings["listen"][key] = Value::Integer(most.parse().unwrap());
            }
        }
        let limit = limit(&text).or_else(|| limit(&usual));
        fits(&path.display().to_string(), worst(&costs, &settings), limit);
    }
    let unit = file("deploy/systemd/pai-image-gateway.service");
    let limit = named(&unit, "MemoryMax=").map(bytes);
    fits("the unit", worst(&costs, &settings(&[SHARED])), limit);
}

#[test]
fn the_worst_case_in_the_document_is_the_sum_of_its_parts() {
    let costs = costs();
    let rows = rows();
    let documented = rows.iter().find(|row| row[0] == "worst case").unwrap();
    let sidecar = "deploy/kubernetes/sidecar/settings/gateway.toml";
    for (stated, file) in documented[1..].iter().zip([SHARED, sidecar]) {
        let sum = worst(&costs, &settings(&[file])) / MIB;
        let stated: f64 = stated.parse().unwrap();
        assert!(
            (sum - stated).abs() <= 1.0,
            "{file}: {sum} is documented as {stated}"
        );
    }
}
