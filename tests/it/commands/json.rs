//! `--json`: docs/commands.md lists the fields that each command prints.

use std::collections::BTreeSet;

use pai_image_gateway::emulator::Store;
use pai_image_gateway::environment::Environment;
use serde_json::Value;

use crate::process::{flags, origin, serving, settings};
use crate::support::{environment, run};

/// The fields of a document: names of members, with `[]` for the items of a list of objects.
fn fields(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, value) in value.as_object().unwrap() {
        match value.as_array().and_then(|items| items.first()) {
            Some(item) if item.is_object() => {
                found.extend(
                    item.as_object()
                        .unwrap()
                        .keys()
                        .map(|key| format!("{name}[].{key}")),
                );
            }
            _ => drop(found.insert(name.clone())),
        }
    }
    found
}

/// The fields that the document lists for a command.
fn documented(command: &str) -> BTreeSet<String> {
    let rows = include_str!("../../../docs/commands.md")
        .lines()
        .filter_map(|row| row.strip_prefix(&format!("| `{command}` | `")));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

async fn printed(environment: &Environment, arguments: &[&str], code: i32) -> Value {
    let finished = run(environment, &[arguments, &["--json"]].concat()).await;
    assert_eq!(finished.code, code, "{arguments:?}: {}", finished.stderr);
    assert_eq!(finished.stdout.lines().count(), 1, "{arguments:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

#[tokio::test]
async fn the_documented_fields_are_those_that_are_printed() {
    let nothing = Environment::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.toml");
    let file = file.to_str().unwrap();
    let ttl = ["ttl", "--modified", "2026-11-23T12:00:00Z"];
    assert_eq!(fields(&printed(&nothing, &ttl, 0).await), documented("ttl"));
    let checked = printed(&environment(), &["check"], 0).await;
    assert_eq!(fields(&checked), documented("check"));
    assert_eq!(checked["ok"], true);
    let failed = printed(&nothing, &["check"], 2).await;
    assert_eq!(failed["ok"], false);

    let role = "credentials.assume_role_arn=acs:ram::1:role/gateway";
    let policy = printed(&nothing, &["policy", "--set", role], 0).await;
    assert_eq!(fields(&policy), documented("policy"));

    let emulator = origin().await;
    let settings = settings(&emulator);
    let probe = [vec!["probe"], flags(&settings)].concat();
    let probed = printed(&environment(), &probe, 0).await;
    // Nothing to remark upon: an empty list has no fields.
    assert_eq!(fields(&probed), documented("probe"));

    let mut rotation = BTreeSet::new();
    for name in ["one", "two"] {
        let added = printed(&nothing, &["client", "add", name, "--file", file], 0).await;
        assert_eq!(fields(&added), documented("client add"));
    }
    for finish in [&[][..], &["--finish"]] {
        let rotate = [&["client", "rotate", "one", "--file", file][..], finish].concat();
        rotation.extend(fields(&printed(&nothing, &rotate, 0).await));
    }
    assert_eq!(rotation, documented("client rotate"));
    let list = printed(&nothing, &["client", "list", "--file", file], 0).await;
    assert_eq!(fields(&list), documented("client list"));
    let removed = printed(&nothing, &["client", "remove", "one", "--file", file], 0).await;
    assert_eq!(fields(&removed), documented("client remove"));
}

#[tokio::test]
async fn the_documented_fields_of_a_running_gateway_are_printed() {
    let nothing = Environment::new();
    let emulator = origin().await;
    let (_process, ports) = serving(&emulator, &[]).await;
    let admin = ports["admin"].as_str().unwrap();
    let ask = async |arguments: &[&str]| {
        printed(&nothing, &[arguments, &["--admin", admin]].concat(), 0).await
    };
    let health = ask(&["healthcheck"]).await;
    assert_eq!(fields(&health), documented("healthcheck"));
    let purged = ask(&["purge", "--all"]).await;
    assert_eq!(fields(&purged), documented("purge"));
    let explained = ask(&["explain", &Store::id(0)]).await;
    assert_eq!(explained["ImageId"], Store::id(0));
    assert_eq!(explained["variants"].as_array().unwrap().len(), 2);
    let rehearsed = printed(&nothing, &["rehearse", "--only", "none"], 0).await;
    assert_eq!(fields(&rehearsed), documented("rehearse"));
    let settings = printed(&nothing, &["config"], 0).await;
    assert_eq!(settings["freshness"]["max"], "1h");
}
