use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::example::FILE;
use super::*;

fn problems(text: &str) -> Vec<Problem> {
    let layers = Layers::new().file(Path::new("g.toml"), text);
    load(&layers).map_or_else(|Problems(problems)| problems, |_| Vec::new())
}

fn leaves(value: &Value, key: &str, found: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(table) => table
            .iter()
            .for_each(|(name, value)| leaves(value, &format!("{key}.{name}"), found)),
        None => drop(found.insert(key.trim_start_matches('.').to_owned())),
    }
}

/// The example with its commented-out optional settings put in force.
fn uncommented() -> String {
    FILE.lines()
        .map(|line| line.strip_prefix("#:").unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_file_equals_the_defaults() {
    let loaded = load(&Layers::new().file(Path::new("gateway.toml"), FILE)).unwrap();
    assert_eq!(loaded.settings, Settings::default());
}

#[test]
fn the_example_file_lists_every_setting() {
    let (mut known, mut listed) = (BTreeSet::new(), BTreeSet::new());
    leaves(
        &serde_json::to_value(Settings::default()).unwrap(),
        "",
        &mut known,
    );
    leaves(&toml::from_str(&uncommented()).unwrap(), "", &mut listed);
    assert_eq!(known, listed);
}

/// The settings that docs/configuration.md lists, and the default of each.
fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../docs/configuration.md");
    page.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let key = cells.next()?.trim_end_matches('`').to_owned();
            Some((key, cells.nth(1)?.to_owned()))
        })
        .collect()
}

/// The settings that `config` prints.
fn printed(loaded: &Loaded) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    leaves(&toml::from_str(&loaded.to_toml()).unwrap(), "", &mut keys);
    keys
}

#[test]
fn the_page_of_settings_matches_the_types() {
    let remedy = "pai-image-gateway docs settings > docs/configuration.md";
    assert!(
        include_str!("../../docs/configuration.md") == page(),
        "write the page anew: {remedy}"
    );
}

#[test]
fn the_page_of_settings_lists_what_config_prints() {
    let rows = documented();
    let with_default = rows.iter().filter(|(_, default)| *default != "none");
    let with_default: BTreeSet<_> = with_default.map(|(key, _)| key.clone()).collect();
    assert_eq!(with_default, printed(&load(&Layers::new()).unwrap()));
    for (key, _) in rows.iter().filter(|(_, default)| *default == "none") {
        let flag = format!("{key}=/nowhere");
        match load(&Layers::new().flags([flag.as_str()])) {
            Ok(loaded) => assert!(printed(&loaded).contains(key), "{key}"),
            Err(problems) => {
                let message = problems.to_string();
                assert!(!message.contains("there is no such setting"), "{message}");
            }
        }
    }
}

/// A page that lists too much or too little would be found out.
#[test]
fn an_unknown_setting_has_its_own_error() {
    let Problems(problems) = load(&Layers::new().flags(["cache.url=/nowhere"])).unwrap_err();
    assert!(problems[0].to_string().contains("there is no such setting"));
    let rows = documented();
    for key in [
        "shared_cache.url",
        "credentials.ecs_imdsv1",
        "listen.tls.key_file",
    ] {
        assert!(rows.contains_key(key), "{key}");
    }
    assert!(!rows.contains_key("cache.url"));
}

#[test]
fn later_layers_win_and_variables_take_the_settings_type() {
    let layers = Layers::new()
        .file(
            Path::new("g.toml"),
            "[freshness]\nmin = \"1s\"\nfactor = 0.2\n[api]\nwrites = true",
        )
        .variables([
            ("PAI_GATEWAY__FRESHNESS__MIN", "2s"),
            ("PAI_GATEWAY__CREDENTIALS__ACCESS_KEY_ID", "0123"),
            ("PAI_GATEWAY__API__WRITES", "false"),
            ("PAI_GATEWAY__UPSTREAM__NOT_FOUND_CODES", "A, B*"),
            ("PAI_GATEWAY_PORT", "tcp://10.0.0.1:80"),
            ("PATH", "/bin"),
        ])
        .flags(["freshness.min=3s", "cache.max_bytes=1048576"]);
    let loaded = load(&layers).unwrap();
    let settings = &loaded.settings;
    assert_eq!(
        (settings.freshness.min, settings.freshness.factor),
        (HumanDuration::secs(3), 0.2)
    );
    assert_eq!(settings.credentials.access_key_id.as_deref(), Some("0123"));
    assert!(!settings.api.writes);
    assert_eq!(settings.upstream.not_found_codes, ["A", "B*"]);
    assert_eq!(settings.cache.max_bytes.to_string(), "1MiB");
    let text = loaded.to_toml();
    assert!(text.contains("min = \"3s\"  # from flag --set"), "{text}");
    assert!(text.contains("factor = 0.2  # from file g.toml"), "{text}");
    assert!(
        text.contains("writes = false  # from variable PAI_GATEWAY__API__WRITES"),
        "{text}"
    );
}

#[test]
fn every_problem_is_reported_at_once_with_key_source_and_remedy() {
    let text = r#"
[freshnes]
min = "1s"
[freshness]
min = 30
max = "soon"
jitter = 1.5
[auth]
mode = "maybe"
[upstream]
endpoint = "http://127.0.0.1:9100"
ca_file = "/nowhere/ca.pem"
[listen]
address = "0.0.0.0:8080"
max_connections = -1
[credentials]
access_key_secret = "hunter2"
"#;
    let found = problems(text);
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "auth.mode",
            "credentials.access_key_secret",
            "freshnes.min",
            "freshness.jitter",
            "freshness.max",
            "freshness.min",
            "listen.address",
            "listen.max_connections",
            "upstream.ca_file",
            "upstream.endpoint",
        ]
    );
    let message = Problems(found).to_string();
    assert!(
        message.contains(
            "freshnes.min (file g.toml): there is no such setting; the nearest is freshness.min"
        ),
        "{message}"
    );
    assert!(
        message.contains("auth.mode (file g.toml): write one of: none, required"),
        "{message}"
    );
    assert!(
        message.contains("the nearest is credentials.access_key_secret_file"),
        "{message}"
    );
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn broken_toml_names_its_line_and_no_value() {
    let found = problems("[listen]\naddress = \"127.0.0.1:1\"\nsecret = hunter2 x\n");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "line 3");
    assert!(!found[0].to_string().contains("hunter2"));
}

#[test]
fn without_authentication_the_data_port_stays_on_this_machine() {
    for address in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080"] {
        let found = problems(&format!("[listen]\naddress = \"{address}\""));
        assert!(
            found.iter().any(|problem| problem.key == "listen.address"),
            "{address}"
        );
    }
    assert_eq!(problems("[listen]\naddress = \"[::1]:8080\""), []);
    assert_eq!(problems("[listen]\nunix = \"/run/pai/gateway.sock\""), []);
}

#[test]
fn an_admin_listener_beyond_loopback_needs_a_token() {
    let found = problems("[admin]\naddress = \"0.0.0.0:9901\"");
    assert_eq!(
        found
            .iter()
            .map(|problem| problem.key.as_str())
            .collect::<Vec<_>>(),
        ["admin.token_file"]
    );
}

#[test]
fn a_parent_gateway_is_named() {
    let found = problems("[upstream]\nkind = \"gateway\"");
    let messages: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(
        messages[0]
            .starts_with("upstream.endpoint (default): with upstream.kind = \"gateway\" name"),
        "{messages:?}"
    );
    let named = "[upstream]\nkind = \"gateway\"\nendpoint = \"parent.example\"";
    assert_eq!(problems(named), []);
}

#[test]
fn quotas_are_numbers_of_calls_and_shares_are_parts() {
    let text = "[upstream]\nrate_share = 0.0\n[upstream.calls_per_second]\nget_image = -1\nadd_image = inf";
    let found = problems(text);
    let mut keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    let quota = |name: &str| format!("upstream.calls_per_second.{name}");
    let expected = [
        quota("add_image"),
        quota("get_image"),
        "upstream.rate_share".to_owned(),
    ];
    assert_eq!(keys, expected);
    let good = "[upstream]\nrate_share = 0.25\n[upstream.calls_per_second]\nget_image = 0\nadd_image = 0.5";
    assert_eq!(problems(good), []);
}

#[test]
fn bad_settings_of_logs_and_traces_are_all_reported() {
    let text = r#"
[log]
access_hits = 1.1
[traces]
endpoint = "https://user:hunter2@collector"
ca_file = "/not/there"
sample = -0.1
interval = "0s"
timeout = "0s"
max_queue = 0
"#;
    let found = problems(text);
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "log.access_hits",
            "traces.ca_file",
            "traces.endpoint",
            "traces.interval",
            "traces.max_queue",
            "traces.sample",
            "traces.timeout",
        ]
    );
    let message = Problems(found).to_string();
    assert!(
        message.contains("OTEL_EXPORTER_OTLP_HEADERS") && !message.contains("hunter2"),
        "{message}"
    );
}

#[test]
fn bad_settings_of_resolve_are_all_reported() {
    let text = "[resolve]\nmax_ids = 0\nconcurrency = 0\ndeadline = \"0s\"\nmax_answer = 1023";
    let keys = |text: &str| -> Vec<String> {
        let found = problems(text).into_iter();
        found.map(|problem| problem.key).collect()
    };
    assert_eq!(
        keys(text),
        ["resolve.concurrency", "resolve.deadline", "resolve.max_ids"]
    );
    assert_eq!(
        keys("[resolve]\nmax_ids = 10000\nmax_answer = \"9MiB\""),
        ["resolve.max_answer"]
    );
    assert_eq!(
        keys("[resolve]\nmax_ids = 1\nmax_answer = \"1KiB\""),
        [""; 0]
    );
}
