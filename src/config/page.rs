//! Generator of docs/configuration.md.
//!
//! Keys, types and descriptions come from each part's `Config` by schemars, defaults from its `Default`, and the
//! reason for a default from the comments of config/gateway.toml. Tests compare the keys with that file and with
//! the output of `pai-image-gateway config`.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{Settings, example};

const HEAD: &str = "# Configuration

Generated from the types of the settings and the comments of [config/gateway.toml](../config/gateway.toml); do not edit. `pai-image-gateway docs settings` prints this page, and `.ci/check-configuration` holds it against what `pai-image-gateway config` prints.

";

/// Returns the JSON schema of the settings, with every section inlined.
#[must_use]
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<Settings>()
        .into()
}

/// Returns the text of docs/configuration.md.
#[must_use]
pub fn page() -> String {
    let defaults = serde_json::to_value(Settings::default()).expect("settings are plain values");
    let mut page = HEAD.to_owned();
    page.push_str(&example::preface());
    page.push('\n');
    section(&mut page, "", &schema(), &defaults);
    page
}

/// Writes the settings of one table, then the tables within it.
fn section(page: &mut String, name: &str, schema: &Value, defaults: &Value) {
    let fields = properties(schema);
    let (tables, settings): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .flatten()
        .partition(|(_, field)| properties(field).is_some());
    if !settings.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "\n## [{name}]\n\n{}\n", description(schema));
        page.push_str("| setting | type | default | meaning | note |\n|---|---|---|---|---|\n");
    }
    for (key, field) in settings {
        let key = join(name, key);
        let default = default(&defaults[key.rsplit('.').next().unwrap_or_default()]);
        let (meaning, note) = (description(field).to_owned(), example::reason(&key));
        let row = [format!("`{key}`"), kind(field), default, meaning, note];
        let row = row.map(|cell| escaped(&cell));
        let _ = writeln!(page, "| {} |", row.join(" | "));
    }
    for (key, table) in tables {
        section(page, &join(name, key), table, &defaults[key]);
    }
}

fn join(section: &str, key: &str) -> String {
    [section, key].join(".").trim_start_matches('.').to_owned()
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema["properties"].as_object()
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// Returns the type of a setting in words, or its possible values.
fn kind(field: &Value) -> String {
    let values = field["enum"].as_array().cloned().or_else(|| {
        let variants = field["oneOf"].as_array()?.iter();
        Some(variants.map(|variant| variant["const"].clone()).collect())
    });
    if let Some(values) = values {
        let quoted = values.iter().map(|value| format!("`{value}`"));
        return quoted.collect::<Vec<_>>().join(", ");
    }
    if let Some(title) = field["title"].as_str() {
        return title.to_owned();
    }
    let name = match &field["type"] {
        Value::Array(types) => types.first().and_then(Value::as_str),
        name => name.as_str(),
    };
    match name {
        Some("array") => "list of strings",
        Some(name) => name,
        None => "string",
    }
    .to_owned()
}

fn default(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        value => format!("`{value}`"),
    }
}

fn escaped(cell: &str) -> String {
    cell.trim().replace('|', "\\|").replace('\n', " ")
}
