//! `policy`: the RAM policy of the settings.

use std::collections::BTreeSet;

use pai_image_gateway::environment::Environment;
use serde_json::Value;

use crate::support::run;

fn actions(policy: &str) -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(policy).unwrap();
    assert_eq!(policy["Version"], "1");
    let statement = &policy["Statement"][0];
    assert_eq!(
        (&statement["Effect"], &statement["Resource"]),
        (&"Allow".into(), &"*".into())
    );
    let actions = statement["Action"].as_array().unwrap().iter();
    actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_policy_of_the_default_settings_is_the_deployments() {
    let printed = run(&Environment::new(), &["policy"]).await;
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let deployed = include_str!("../../../deploy/ram-policy.json");
    assert_eq!(actions(&printed.stdout), actions(deployed));
}

#[tokio::test]
async fn the_policy_follows_the_clients_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.toml");
    let file = file.to_str().unwrap();
    let add = [
        "client",
        "add",
        "writer",
        "--file",
        file,
        "--permissions",
        "get,write",
    ];
    assert_eq!(run(&Environment::new(), &add).await.code, 0);
    let clients = format!("auth.clients_file={file}");
    let settings = ["--set", "auth.mode=required", "--set", &clients];
    let reads = run(&Environment::new(), &[&["policy"][..], &settings].concat()).await;
    assert_eq!(
        actions(&reads.stdout),
        ["paiimage:GetImage", "paiimage:ListImageLabels"]
            .map(str::to_owned)
            .into(),
        "{}",
        reads.stderr
    );
    let writes = ["policy", "--set", "api.writes=true"];
    let writes = run(&Environment::new(), &[&writes[..], &settings].concat()).await;
    assert!(actions(&writes.stdout).contains("paiimage:RemoveImage"));
    assert!(writes.stderr.contains("clients write"), "{}", writes.stderr);
}
